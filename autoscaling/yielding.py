"""Which training gives its place to a model that somebody asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autoscaling.cluster import Cluster, Footing, Node, Resources, Strategy

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that trains since `started_s`, and what its workers hold."""

    id: str
    workers: tuple[Resources, ...]
    started_s: float


def job_that_yields(
    cluster: Cluster, bundles: Sequence[Resources], strategy: Strategy, holders: Iterable[Holder]
) -> str | None:
    """The job whose leaving would make room for the bundles, that which was started last if there are several.

    None when there is room or a node may be added, or when no single job would be enough: then none is disturbed in
    vain. The snapshot does not tell on which node a job is, so one that fits more than one node is taken at its best.
    """
    if cluster.footing(bundles, strategy) is not Footing.OCCUPIED:
        return None
    for holder in sorted(holders, key=lambda each: -each.started_s):
        if any(each.footing(bundles, strategy) is Footing.NOW for each in _without(cluster, holder)):
            return holder.id
    return None


def _without(cluster: Cluster, holder: Holder) -> Iterable[Cluster]:
    """The cluster after the job has left, for each node on which it may have been."""
    held: Counter[str] = Counter()
    for worker in holder.workers:
        held.update(worker)  # pyright: ignore[reportCallIssue, reportArgumentType]  # a Counter adds floats too
    for index, node in enumerate(cluster.nodes):
        free = {name: node.free.get(name, 0.0) + held.get(name, 0.0) for name in node.total}
        if any(amount > free.get(name, 0.0) + _TOLERANCE for name, amount in held.items()):
            continue
        if any(amount > node.total[name] + _TOLERANCE for name, amount in free.items()):
            # More would be free than there is: it cannot be here.
            continue
        nodes = (*cluster.nodes[:index], Node(node.total, free), *cluster.nodes[index + 1 :])
        yield replace(cluster, nodes=nodes)
