"""The bound: GPU time of a policy that knows all requests ahead, makes nobody wait and never lacks a GPU.

A replica is there while a request needs it. In a pause it is kept, or goes and is started again just in time, whichever
holds the GPUs for less time. Late requests would not make it cheaper: a start holds the GPUs whether it is in time or
not. (Holding requests back to serve several with one start would.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscaling.simulator.replay import TICK_S, SimulatedModel
from autoscaling.simulator.workload import Floats, Workload


def oracle_gpu_s(model: SimulatedModel, from_s: float, until_s: float, wake_s: float | None = None) -> float:
    """GPU-seconds between two times; with the sleep tier every start but a replica's first is a wake of `wake_s`."""
    load, size = model.workload, model.size
    start_s = size.start_s if wake_s is None else wake_s
    total_s = _first_replica_s(load, from_s, until_s, start_s, size.start_s)
    needed = -(-load.peak_running // size.num_slots)
    scored = needed[int(from_s / TICK_S) : int(until_s / TICK_S)]
    for level in range(2, int(scored.max(initial=0)) + 1):
        total_s += _level_s(scored >= level, start_s, size.start_s)
    return total_s * size.num_gpus


def _first_replica_s(load: Workload, from_s: float, until_s: float, start_s: float, first_start_s: float) -> float:
    """Time of the first replica, exact to the request: work, plus for each pause the lesser of it and a start."""
    if not load.num_requests:
        return 0.0
    ends = np.maximum.accumulate(load.arrival_s + load.service_s)
    pauses = np.maximum(load.arrival_s[1:] - ends[:-1], 0.0)
    scored = load.arrival_s[1:] >= from_s
    work_s = float((np.diff(ends) - pauses)[scored].sum())
    started_s = float(np.minimum(pauses, start_s)[scored].sum())
    if load.arrival_s[0] >= from_s:
        started_s += first_start_s
        work_s += float(ends[0] - load.arrival_s[0])
    return min(work_s, until_s - from_s) + started_s


def _level_s(is_needed: NDArray[np.bool_], start_s: float, first_start_s: float) -> float:
    """Time of one further replica, from the ticks that need it."""
    ticks = np.flatnonzero(is_needed)
    pauses: Floats = (np.diff(ticks) - 1) * TICK_S
    return len(ticks) * TICK_S + float(np.minimum(pauses, start_s).sum()) + first_start_s
