"""Replays the requests of many models through a policy on a cluster."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from autoscaling.simulator.cluster import Cluster, ModelSize, Replica
from autoscaling.simulator.policies import Policy, Signals
from autoscaling.simulator.queueing import RequestQueue
from autoscaling.simulator.workload import Workload

TICK_S = 10.0


class SimulatedModel(NamedTuple):
    """A model: what its replicas need, its requests, and how long a request may wait for its slot."""

    size: ModelSize
    workload: Workload
    patience_s: float


@dataclass
class Run:
    """What happened: for each model its late requests and its replica counts over time, and the clusters' books."""

    late: list[list[int]]
    counts: list[list[tuple[float, int]]]
    clusters: list[Cluster] = field(default_factory=list)


class _State:
    """One model while it is replayed."""

    def __init__(self, model: SimulatedModel, policy: Policy, cluster: Cluster) -> None:
        self.model, self.policy, self.cluster = model, policy, cluster
        self.queue = RequestQueue(model.workload, TICK_S, model.patience_s)
        self.replicas: list[Replica] = []
        self.num_pending = 0
        self.busy_until_s = -math.inf
        self.arrival_ticks = np.flatnonzero(model.workload.num_arrivals)
        self.counts: list[tuple[float, int]] = []

    @property
    def num_target(self) -> int:
        return len(self.replicas) + self.num_pending

    def next_arrival_tick(self, after: int) -> int | None:
        place = int(np.searchsorted(self.arrival_ticks, after, side="right"))
        return int(self.arrival_ticks[place]) if place < len(self.arrival_ticks) else None


class Replay:
    """One run. Policies are asked at the end of a tick of 10 s, and at once when a request meets a cold model.

    Ticks in which a model can only stay as it is are skipped.
    """

    def __init__(
        self,
        models: Sequence[SimulatedModel],
        clusters: Sequence[Cluster],
        policy_of: Callable[[ModelSize], Policy],
        wake_s: float | None = None,
    ) -> None:
        """`wake_s` is what it takes to wake a sleeping engine; None without the sleep tier."""
        by_gpu = {cluster.kind.gpu: cluster for cluster in clusters}
        self._clusters = list(clusters)
        self._states = [_State(model, policy_of(model.size), by_gpu[model.size.gpu]) for model in models]
        self._sizes = [model.size for model in models]
        self._wake_s = wake_s
        self._pending: dict[str, deque[int]] = {gpu: deque() for gpu in by_gpu}
        self._agenda: list[tuple[int, int]] = []

    def run(self, num_ticks: int) -> Run:
        for index, state in enumerate(self._states):
            first = state.next_arrival_tick(-1)
            if first is not None:
                heapq.heappush(self._agenda, (first, index))
        while self._agenda and self._agenda[0][0] < num_ticks:
            tick, index = heapq.heappop(self._agenda)
            following = self._step(tick, index)
            if following is not None:
                heapq.heappush(self._agenda, (following, index))
        return self._closed(num_ticks * TICK_S)

    def _step(self, tick: int, index: int) -> int | None:
        """Take a model through a tick; the next one that it needs, None when there is none."""
        state, start_s = self._states[index], tick * TICK_S
        load = state.model.workload
        num_arrivals = int(load.num_arrivals[tick])
        if num_arrivals and not state.num_target:
            first_s = float(load.arrival_s[load.first_index[tick]])
            self._ask(index, Signals(first_s, 0, 0, 0, 0, 1, 0.0, 1.0))
        slots = self._slots(state, start_s)
        state.queue.advance(tick, slots)
        now_s = start_s + TICK_S
        is_busy = num_arrivals or state.queue.running or state.queue.queued
        if is_busy:
            state.busy_until_s = now_s
        num_ready = slots[-1][1] // state.model.size.num_slots
        signals = Signals(
            now_s, num_ready, state.num_target - num_ready, state.num_target,
            state.queue.running, state.queue.queued, now_s - state.busy_until_s,
            state.queue.mean_ongoing,
        )  # fmt: skip
        ask_again_s = self._ask(index, signals)
        if is_busy or state.num_target > num_ready:
            return tick + 1
        asked = tick + max(1, math.ceil(ask_again_s / TICK_S)) if math.isfinite(ask_again_s) else None
        arrival = state.next_arrival_tick(tick)
        return min((found for found in (asked, arrival) if found is not None), default=None)

    def _slots(self, state: _State, start_s: float) -> list[tuple[float, int]]:
        """How many requests may run from when on, during the tick that starts at `start_s`."""
        num_slots = state.model.size.num_slots
        ready_s = sorted(replica.ready_s for replica in state.replicas)
        num_ready = sum(time <= start_s for time in ready_s)
        slots = [(start_s, num_ready * num_slots)]
        for time in ready_s[num_ready:]:
            if time <= start_s + TICK_S:
                slots.append((time, slots[-1][1] + num_slots))
        return slots

    def _ask(self, index: int, signals: Signals) -> float:
        state = self._states[index]
        verdict = state.policy.decide(signals)
        if verdict.num_replicas != state.num_target:
            self._scale(index, verdict.num_replicas, signals.now_s)
        return verdict.ask_again_s

    def _scale(self, index: int, num_replicas: int, now_s: float) -> None:
        state, pending = self._states[index], self._pending[self._sizes[index].gpu]
        while state.num_target < num_replicas:
            # Whoever waits for GPUs already goes first.
            replica = None if pending else self._started(index, now_s)
            if replica is None:
                pending.append(index)
                state.num_pending += 1
            else:
                state.replicas.append(replica)
        while state.num_target > num_replicas:
            if state.num_pending:
                pending.remove(index)
                state.num_pending -= 1
            else:
                self._stop(index, now_s)
        state.counts.append((now_s, len(state.replicas)))

    def _started(self, index: int, now_s: float) -> Replica | None:
        state, size = self._states[index], self._sizes[index]
        if self._wake_s is not None:
            for sleeper in state.cluster.sleepers_of(index):
                if self._has_room(state.cluster, sleeper.node, size.num_gpus, now_s):
                    return state.cluster.wake(sleeper, size, self._wake_s, now_s)
        return state.cluster.start(size, now_s)

    def _has_room(self, cluster: Cluster, place: int, num_gpus: int, now_s: float) -> bool:
        """Whether the node has free GPUs, after idle engines have been put to sleep for it: the longest idle first."""
        node = cluster.nodes[place]
        idle = [
            (state.busy_until_s, other)
            for other, state in enumerate(self._states)
            if state.cluster is cluster and not (state.queue.running or state.queue.queued)
            for replica in state.replicas
            if replica.node == place and replica.ready_s <= now_s and state.busy_until_s < now_s
        ]
        idle_gpus = sum(self._sizes[other].num_gpus for _, other in idle)
        if node.num_free + idle_gpus < num_gpus:
            return False
        for _, other in sorted(idle):
            if node.num_free >= num_gpus:
                break
            self._evict(other, place, now_s)
        return True

    def _evict(self, index: int, place: int, now_s: float) -> None:
        state, size = self._states[index], self._sizes[index]
        replica = next(found for found in state.replicas if found.node == place and found.ready_s <= now_s)
        state.replicas.remove(replica)
        state.cluster.release(replica, size, now_s)
        state.cluster.sleep(index, replica, size, now_s, self._sizes)
        state.counts.append((now_s, len(state.replicas)))

    def _stop(self, index: int, now_s: float) -> None:
        """The replica that started last goes when its share of the requests has ended; who waits gets its GPUs."""
        state, size = self._states[index], self._sizes[index]
        replica = max(state.replicas, key=lambda found: found.ready_s)
        state.replicas.remove(replica)
        drain_s = float(state.model.workload.service_s.mean()) if state.queue.running else 0.0
        state.cluster.release(replica, size, now_s + drain_s)
        if self._wake_s is not None and replica.ready_s <= now_s:
            state.cluster.sleep(index, replica, size, now_s, self._sizes)
        self._serve_pending(size.gpu, now_s)

    def _serve_pending(self, gpu: str, now_s: float) -> None:
        pending = self._pending[gpu]
        while pending:
            replica = self._started(pending[0], now_s)
            if replica is None:
                return
            state = self._states[pending.popleft()]
            state.num_pending -= 1
            state.replicas.append(replica)
            state.counts.append((now_s, len(state.replicas)))

    def _closed(self, end_s: float) -> Run:
        for state in self._states:
            state.queue.close()
            for replica in state.replicas:
                state.cluster.release(replica, state.model.size, end_s)
        for cluster in self._clusters:
            cluster.finish(self._sizes, end_s)
        return Run(
            [state.queue.late for state in self._states], [state.counts for state in self._states], self._clusters
        )
