"""What a run cost, and how many requests kept their objective."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from autoscaling.simulator.cluster import Cluster, Interval
from autoscaling.simulator.replay import Run, SimulatedModel

# Ray's autoscaler lets a node go after five idle minutes (`idle_timeout_minutes`).
NODE_IDLE_S = 300.0


class Outcome(NamedTuple):
    """Figures of a run over the scored time.

    GPU-hours count a GPU from the start of a replica to its end. `node_usd` pays whole nodes while they hold a GPU or a
    sleeping engine and five minutes more. Attainments are shares, 0 to 1: of all requests, and the mean over models.
    """

    gpu_hours: float
    node_usd: float
    request_attainment: float
    model_attainment: float


def outcome(run: Run, models: Sequence[SimulatedModel], from_s: float, until_s: float) -> Outcome:
    """The figures between two times; requests count when they arrive in between."""
    totals, lates = [], []
    for model, late in zip(models, run.late, strict=True):
        arrival_s = model.workload.arrival_s
        totals.append(int(np.sum(arrival_s >= from_s)))
        lates.append(int(np.sum(arrival_s[np.asarray(late, dtype=np.int64)] >= from_s)))
    request, mean = attainment(totals, lates)
    gpu_s = sum(held.amount * overlap_s(held, from_s, until_s) for cluster in run.clusters for _, held in cluster.held)
    usd = sum(_node_usd(cluster, from_s, until_s) for cluster in run.clusters)
    return Outcome(gpu_s / 3600, usd, request, mean)


def attainment(totals: Sequence[int], lates: Sequence[int]) -> tuple[float, float]:
    """Shares of requests in time: of all, and the mean over the models that had any."""
    if not sum(totals):
        return 1.0, 1.0
    shares = [1 - late / total for total, late in zip(totals, lates, strict=True) if total]
    return 1 - sum(lates) / sum(totals), float(np.mean(shares))


def overlap_s(interval: Interval, from_s: float, until_s: float) -> float:
    """Seconds of the interval between two times."""
    return max(0.0, min(interval.until_s, until_s) - max(interval.from_s, from_s))


def _node_usd(cluster: Cluster, from_s: float, until_s: float) -> float:
    by_node: dict[int, list[Interval]] = defaultdict(list)
    for node, interval in [*cluster.held, *cluster.slept]:
        by_node[node].append(interval)
    up_s = sum(union_s(intervals, from_s, until_s) for intervals in by_node.values())
    return up_s / 3600 * cluster.kind.num_gpus * cluster.kind.usd_per_gpu_hour


def union_s(intervals: Sequence[Interval], from_s: float, until_s: float) -> float:
    """Seconds between two times in which any of the intervals, each with the idle time of a node, is open."""
    total_s, open_from_s, open_until_s = 0.0, 0.0, 0.0
    for interval in sorted(intervals):
        end_s = interval.until_s + NODE_IDLE_S
        if interval.from_s > open_until_s:
            total_s += overlap_s(Interval(open_from_s, open_until_s, 1), from_s, until_s)
            open_from_s, open_until_s = interval.from_s, end_s
        open_until_s = max(open_until_s, end_s)
    return total_s + overlap_s(Interval(open_from_s, open_until_s, 1), from_s, until_s)
