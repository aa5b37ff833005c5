"""GPU nodes: where a replica goes, what a start costs when others start beside it, who sleeps in host memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

# Engines awake and asleep may ask for this many times the GPUs of a node before others are sent elsewhere.
MAX_CLAIM_RATIO = 2.0


class NodeType(NamedTuple):
    """A kind of node: its GPU type, how many, host memory that sleeping engines may use, list price."""

    gpu: str
    num_gpus: int
    host_memory_gb: float
    usd_per_gpu_hour: float


class ModelSize(NamedTuple):
    """What one replica needs, and how long it takes to start and to answer.

    `start_s` is alone on its node; `fixed_start_s` of it (process, imports) does not use the host's memory bandwidth.
    """

    name: str
    gpu: str
    num_gpus: int
    weights_gb: float
    start_s: float
    prefill_s_per_token: float
    decode_s_per_token: float
    fixed_start_s: float = 39.0
    num_slots: int = 64


class Interval(NamedTuple):
    """From when to when, in seconds, a number of GPUs was held or a number of gigabytes slept."""

    from_s: float
    until_s: float
    amount: float


@dataclass(slots=True)
class Node:
    """One node.

    `num_asleep` GPUs are those that its sleeping engines would take, `loading_until_s` are the ends of the starts and
    wakes under way.
    """

    num_free: int
    free_memory_gb: float
    num_asleep: int = 0
    loading_until_s: list[float] = field(default_factory=list)

    def num_loading(self, now_s: float) -> int:
        self.loading_until_s = [end for end in self.loading_until_s if end > now_s]
        return len(self.loading_until_s)


@dataclass(slots=True)
class Replica:
    """One replica that holds GPUs of a node; it answers from `ready_s` on."""

    node: int
    held_from_s: float
    ready_s: float


class Sleeper(NamedTuple):
    """An engine without GPUs whose weights stay in the memory of a node."""

    model: int
    node: int
    slept_from_s: float


class Cluster:
    """The nodes of one GPU type. The fullest node that still fits is taken, so that the others can leave."""

    def __init__(self, kind: NodeType, num_nodes: int) -> None:
        self.kind = kind
        self.nodes = [Node(kind.num_gpus, kind.host_memory_gb) for _ in range(num_nodes)]
        self.sleepers: list[Sleeper] = []
        self.held: list[tuple[int, Interval]] = []
        self.slept: list[tuple[int, Interval]] = []

    def start(self, size: ModelSize, now_s: float) -> Replica | None:
        """A new replica, or None while no node has enough free GPUs.

        Loads that share a node share its bandwidth: the part of the start that loads takes as many times as long as
        there are loads on the node when it begins.
        """
        fitting = [i for i, node in enumerate(self.nodes) if node.num_free >= size.num_gpus]
        if not fitting:
            return None
        place = min(fitting, key=lambda i: (self._is_crowded(i), self.nodes[i].num_free, i))
        return self._take(place, size, now_s, size.fixed_start_s, size.start_s - size.fixed_start_s)

    def sleepers_of(self, model: int) -> list[Sleeper]:
        """The sleeping engines of a model, those beside the most free GPUs first."""
        found = [sleeper for sleeper in self.sleepers if sleeper.model == model]
        return sorted(found, key=lambda sleeper: -self.nodes[sleeper.node].num_free)

    def wake(self, sleeper: Sleeper, size: ModelSize, wake_s: float, now_s: float) -> Replica:
        """Wake an engine beside enough free GPUs; loads on its node share its bandwidth."""
        self._forget(sleeper, size, now_s)
        return self._take(sleeper.node, size, now_s, 0.0, wake_s)

    def release(self, replica: Replica, size: ModelSize, until_s: float) -> None:
        """Give the GPUs back; they count as held until `until_s`, when its last request ends."""
        self.nodes[replica.node].num_free += size.num_gpus
        self.held.append((replica.node, Interval(replica.held_from_s, until_s, size.num_gpus)))

    def sleep(self, model: int, replica: Replica, size: ModelSize, now_s: float, sizes: list[ModelSize]) -> None:
        """Keep the weights of a released replica in memory; engines that slept longest make room."""
        node = self.nodes[replica.node]
        if size.weights_gb > self.kind.host_memory_gb:
            return
        for sleeper in [s for s in self.sleepers if s.node == replica.node]:
            if node.free_memory_gb >= size.weights_gb:
                break
            self._forget(sleeper, sizes[sleeper.model], now_s)
        node.free_memory_gb -= size.weights_gb
        node.num_asleep += size.num_gpus
        self.sleepers.append(Sleeper(model, replica.node, now_s))

    def finish(self, sizes: list[ModelSize], end_s: float) -> None:
        """Close the books of the engines that still sleep."""
        for sleeper in list(self.sleepers):
            self._forget(sleeper, sizes[sleeper.model], end_s)

    def _is_crowded(self, place: int) -> bool:
        """Whether engines awake and asleep would rather have more GPUs of the node than it can give them in turn."""
        node = self.nodes[place]
        num_claimed = self.kind.num_gpus - node.num_free + node.num_asleep
        return num_claimed >= MAX_CLAIM_RATIO * self.kind.num_gpus

    def _take(self, place: int, size: ModelSize, now_s: float, fixed_s: float, load_s: float) -> Replica:
        node = self.nodes[place]
        node.num_free -= size.num_gpus
        ready_s = now_s + fixed_s + load_s * (1 + node.num_loading(now_s))
        node.loading_until_s.append(ready_s)
        return Replica(place, now_s, ready_s)

    def _forget(self, sleeper: Sleeper, size: ModelSize, now_s: float) -> None:
        self.sleepers.remove(sleeper)
        node = self.nodes[sleeper.node]
        node.free_memory_gb += size.weights_gb
        node.num_asleep -= size.num_gpus
        self.slept.append((sleeper.node, Interval(sleeper.slept_from_s, now_s, size.weights_gb)))
