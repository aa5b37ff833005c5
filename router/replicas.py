"""Which replica gets a request: the one that should begin its answer first, or the one with the least ongoing work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from catalog.replicas import ReplicaReport, ReplicaState
from router.outlook import Estimate

# What each request in a replica counts for, seconds: it takes part in every step of the engine. This keeps requests
# with a common beginning from gathering in one replica where that saves them little.
COMPANY_S = 0.01
# Estimates are no better than this: within a twentieth of its own prefill, replicas are alike to a request.
ALIKE_RATIO = 0.05


def choose_replica(
    replicas: Iterable[ReplicaReport],
    ongoing_here: Mapping[str, int],
    *,
    adapter: str | None = None,
    excluded: Collection[str] = (),
    turn: int = 0,
    estimate: Callable[[ReplicaReport], Estimate] | None = None,
    max_ongoing: int | None = None,
    max_adapters: int = 0,
) -> ReplicaReport | None:
    """A ready replica for a request, or None when none can serve it at once.

    With an adapter there is none unless some replica holds it. Without `estimate` the least loaded of these is taken. A
    replica's load is the larger of what it reported, up to a second ago, and of what this gateway has under way there
    (`ongoing_here`, by replica id). `turn` breaks ties, so that callers that count it up spread their requests.

    With `estimate` it is the replica with the least estimated time to first token, where each request in it counts for
    COMPANY_S more. Replicas with `max_ongoing` requests count only where all have as many. One that could load the
    adapter, since fewer than `max_adapters` of its own are in use, competes with those that hold it.
    """
    ready = [
        replica for replica in replicas if replica.state is ReplicaState.READY and replica.replica_id not in excluded
    ]
    able = ready if adapter is None else [replica for replica in ready if adapter in replica.adapters]
    if not able:
        return None
    if estimate is None or len(ready) == 1:
        return _least_loaded(able, ongoing_here, turn)
    if adapter is not None:
        able += [each for each in ready if adapter not in each.adapters and len(each.busy_adapters) < max_adapters]
    if max_ongoing is not None:
        able = [replica for replica in able if load_of(replica, ongoing_here) < max_ongoing] or able
    return _soonest(able, ongoing_here, estimate, turn)


def load_of(replica: ReplicaReport, ongoing_here: Mapping[str, int]) -> int:
    """Requests in a replica: the larger of what it reported and of what this gateway has under way there."""
    return max(replica.running + replica.waiting, ongoing_here.get(replica.replica_id, 0))


def _least_loaded(able: list[ReplicaReport], ongoing_here: Mapping[str, int], turn: int) -> ReplicaReport:
    if len(able) == 1:
        return able[0]
    loads = [load_of(replica, ongoing_here) for replica in able]
    least = min(loads)
    idlest = [replica for replica, load in zip(able, loads, strict=True) if load == least]
    return idlest[turn % len(idlest)]


def _soonest(
    able: list[ReplicaReport],
    ongoing_here: Mapping[str, int],
    estimate: Callable[[ReplicaReport], Estimate],
    turn: int,
) -> ReplicaReport:
    """The one with the least cost; of those that are alike, the least loaded."""
    estimates = [estimate(replica) for replica in able]
    costs = [
        each.ttft_s + COMPANY_S * load_of(replica, ongoing_here) for replica, each in zip(able, estimates, strict=True)
    ]
    best = min(range(len(able)), key=costs.__getitem__)
    limit = costs[best] + ALIKE_RATIO * estimates[best].prefill_s
    alike = [replica for replica, cost in zip(able, costs, strict=True) if cost <= limit]
    return _least_loaded(alike, ongoing_here, turn)
