"""The requests of one model while replicas come and go: who waits, for how long, and how many run."""

from __future__ import annotations

import heapq
from collections import deque

import numpy as np

from autoscaling.simulator.workload import Workload


class RequestQueue:
    """First come, first served, with as many at once as the ready replicas have slots.

    While nobody waits, the sums of the workload tell everything and a tick costs the same whatever its number of
    requests. Requests are followed one by one only from the tick in which one has to wait until the last of those who
    waited has ended.
    """

    def __init__(self, workload: Workload, tick_s: float, patience_s: float) -> None:
        self._workload = workload
        self._tick_s = tick_s
        self._patience_s = patience_s
        self._longest_service_s = float(workload.service_s.max()) if workload.num_requests else 0.0
        self._waiting: deque[int] = deque()
        # Ends of the requests that run, a heap; None while nobody waits.
        self._ends: list[float] | None = None
        self._last_delayed_end_s = 0.0
        self.late: list[int] = []
        self.running = 0
        # Mean number of running and waiting requests in the tick.
        self.mean_ongoing = 0.0

    @property
    def queued(self) -> int:
        return len(self._waiting)

    def advance(self, tick: int, slots: list[tuple[float, int]]) -> None:
        """Go through one tick; `slots` are the times from which so many requests may run, the first at its start."""
        if self._ends is None:
            if len(slots) == 1 and self._workload.peak_running[tick] <= slots[0][1]:
                self.running = int(self._workload.num_running[tick])
                self.mean_ongoing = float(self._workload.mean_running[tick])
                return
            self._ends = self._running_at(tick)
        before = len(self._ends) + len(self._waiting)
        self._follow(tick, slots)
        end_s = (tick + 1) * self._tick_s
        self.running = len(self._ends)
        # Of requests that are followed one by one, the mean of start and end; never less than without any waiting.
        mean = (before + self.running + len(self._waiting)) / 2
        self.mean_ongoing = max(mean, float(self._workload.mean_running[tick]))
        if not self._waiting and self._last_delayed_end_s <= end_s:
            self._ends = None

    def close(self) -> None:
        """Those who still wait when the trace ends have waited in vain."""
        self.late.extend(self._waiting)
        self._waiting.clear()

    def _running_at(self, tick: int) -> list[float]:
        """Ends of the requests that run at the start of the tick if nobody has waited; a sorted list is a heap."""
        load, start_s = self._workload, tick * self._tick_s
        last = int(load.first_index[tick])
        first = int(np.searchsorted(load.arrival_s[:last], start_s - self._longest_service_s))
        ends = load.arrival_s[first:last] + load.service_s[first:last]
        return np.sort(ends[ends > start_s]).tolist()

    def _follow(self, tick: int, slots: list[tuple[float, int]]) -> None:
        load, end_s = self._workload, (tick + 1) * self._tick_s
        index, last = int(load.first_index[tick]), int(load.first_index[tick + 1])
        times = load.arrival_s[index:last].tolist()
        position = 0
        for number, (from_s, num_slots) in enumerate(slots):
            until_s = slots[number + 1][0] if number + 1 < len(slots) else end_s
            self._serve_until(from_s, num_slots)
            self._fill(from_s, num_slots)
            while position < len(times) and times[position] < until_s:
                now_s = times[position]
                self._serve_until(now_s, num_slots)
                self._waiting.append(index + position)
                self._fill(now_s, num_slots)
                position += 1
            self._serve_until(until_s, num_slots)

    def _serve_until(self, now_s: float, num_slots: int) -> None:
        """Let requests end; each that ends makes room for one that waits."""
        ends = self._ends
        assert ends is not None
        while ends and ends[0] <= now_s:
            ended_s = heapq.heappop(ends)
            self._fill(ended_s, num_slots)

    def _fill(self, now_s: float, num_slots: int) -> None:
        ends, load = self._ends, self._workload
        assert ends is not None
        while self._waiting and len(ends) < num_slots:
            request = self._waiting.popleft()
            waited_s = now_s - load.arrival_s[request]
            end_s = now_s + float(load.service_s[request])
            heapq.heappush(ends, end_s)
            if waited_s > 0:
                self._last_delayed_end_s = max(self._last_delayed_end_s, end_s)
            if waited_s > self._patience_s:
                self.late.append(request)
