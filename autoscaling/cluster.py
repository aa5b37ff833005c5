"""What a Ray cluster has, has free and may grow to, and whether a group of bundles finds a place in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Resources = Mapping[str, float]
Strategy = Literal["PACK", "STRICT_PACK"]

# Ray counts resources in units of 0.0001; sums of floats are off by less.
_TOLERANCE = 1e-6


class Footing(StrEnum):
    """How a group of bundles may find a place, best first."""

    NOW = "now"
    """Nodes that run have the resources free."""
    ADDABLE = "addable"
    """The autoscaler may add nodes that have them."""
    OCCUPIED = "occupied"
    """Nodes that run have them, once others leave."""
    NEVER = "never"
    """No node has them, nor may one be added that does."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that runs: what it has, and what of it nobody holds."""

    total: Resources
    free: Resources


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node that the autoscaler launches: what one has, and how many more there may be."""

    name: str
    resources: Resources
    num_addable: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """A snapshot of the cluster. `max_addable` bounds the nodes that may be added over all types together."""

    nodes: tuple[Node, ...] = ()
    node_types: tuple[NodeType, ...] = field(default=())
    max_addable: int = 0

    def footing(self, bundles: Iterable[Resources], strategy: Strategy = "STRICT_PACK") -> Footing:
        """How the bundles may be placed: on one node with STRICT_PACK, on as few as may be with PACK."""
        group = _group(bundles, strategy)
        if _fits(group, [node.free for node in self.nodes]):
            return Footing.NOW
        if _fits(group, self._with_added([node.free for node in self.nodes], len(group))):
            return Footing.ADDABLE
        if _fits(group, self._with_added([node.total for node in self.nodes], len(group))):
            return Footing.OCCUPIED
        return Footing.NEVER

    def _with_added(self, bins: list[Resources], num_useful: int) -> list[Resources]:
        """The bins, and after them those of nodes that may be added; more than `num_useful` would not help."""
        added = [kind.resources for kind in self.node_types for _ in range(min(kind.num_addable, num_useful))]
        return [*bins, *added[: self.max_addable]]

    def count(self, resource: str) -> tuple[float, float, float]:
        """How much of a resource the nodes have, have free, and the addable nodes would bring."""
        addable, num_left = 0.0, self.max_addable
        for kind in sorted(self.node_types, key=lambda kind: -kind.resources.get(resource, 0.0)):
            num = min(kind.num_addable, num_left)
            addable += num * kind.resources.get(resource, 0.0)
            num_left -= num if kind.resources.get(resource, 0.0) else 0
        total, free = (sum(side.get(resource, 0.0) for side in sides) for sides in self._sides())
        return total, free, addable

    def _sides(self) -> tuple[list[Resources], list[Resources]]:
        return [node.total for node in self.nodes], [node.free for node in self.nodes]

    def restricted_to(self, resource: str) -> Cluster:
        """Only the nodes and node types that have some of a resource, such as `accelerator_type:H100`."""
        return Cluster(
            tuple(node for node in self.nodes if node.total.get(resource, 0.0) > 0),
            tuple(kind for kind in self.node_types if kind.resources.get(resource, 0.0) > 0),
            self.max_addable,
        )


def _group(bundles: Iterable[Resources], strategy: Strategy) -> list[Resources]:
    if strategy == "PACK":
        return sorted(bundles, key=lambda bundle: (-bundle.get("GPU", 0.0), -bundle.get("CPU", 0.0)))
    total: Counter[str] = Counter()
    for bundle in bundles:
        total.update(bundle)  # pyright: ignore[reportCallIssue, reportArgumentType]  # a Counter adds floats too
    return [total]


def _fits(group: list[Resources], bins: Iterable[Resources]) -> bool:
    """Whether every part finds room, each in the first bin that has it (first-fit decreasing)."""
    left = [dict(each) for each in bins]
    for part in group:
        needed = {name: amount for name, amount in part.items() if amount > 0}
        room = next((each for each in left if _has(each, needed)), None)
        if room is None:
            return False
        for name, amount in needed.items():
            room[name] -= amount
    return True


def _has(room: Resources, needed: Resources) -> bool:
    return all(room.get(name, 0.0) + _TOLERANCE >= amount for name, amount in needed.items())
