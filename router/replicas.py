"""Which replica gets a request: the one with the least ongoing work among those that can serve it at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from catalog.replicas import ReplicaReport, ReplicaState


def choose_replica(
    replicas: Iterable[ReplicaReport],
    ongoing_here: Mapping[str, int],
    *,
    adapter: str | None = None,
    excluded: Collection[str] = (),
    turn: int = 0,
) -> ReplicaReport | None:
    """The least loaded ready replica, or None when none can serve the request at once.

    With an adapter only replicas that hold it count. A replica's load is the larger of what it reported, up to a second
    ago, and of what this gateway has under way there (`ongoing_here`, by replica id). `turn` breaks ties, so that
    callers that count it up spread their requests.
    """
    able = [
        replica
        for replica in replicas
        if replica.state is ReplicaState.READY
        and replica.replica_id not in excluded
        and (adapter is None or adapter in replica.adapters)
    ]
    if not able:
        return None
    loads = [load_of(replica, ongoing_here) for replica in able]
    least = min(loads)
    idlest = [replica for replica, load in zip(able, loads, strict=True) if load == least]
    return idlest[turn % len(idlest)]


def load_of(replica: ReplicaReport, ongoing_here: Mapping[str, int]) -> int:
    """Requests in a replica: the larger of what it reported and of what this gateway has under way there."""
    return max(replica.running + replica.waiting, ongoing_here.get(replica.replica_id, 0))
