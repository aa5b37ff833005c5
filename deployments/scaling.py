"""Serve's autoscaling policy interface, adapted to `autoscaling.policy`."""

from __future__ import annotations

import logging
from typing import Any

from ray.serve.config import AutoscalingContext

from autoscaling.policy import ReplicaLoad, ScalingRules, decide

logger = logging.getLogger("ray.serve")


class ServePolicy:
    """Called by the Serve controller for a variant at each of its ticks."""

    def __init__(self, idle_timeout_s: float, target_ongoing_requests: float) -> None:
        self._idle_timeout_s = idle_timeout_s
        self._target_ongoing_requests = target_ongoing_requests

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        rules = ScalingRules(
            idle_timeout_s=self._idle_timeout_s,
            target_ongoing_requests=self._target_ongoing_requests,
            max_replicas=ctx.capacity_adjusted_max_replicas,
            min_replicas=ctx.capacity_adjusted_min_replicas,
        )
        decision = decide(rules, replica_loads(ctx), ctx.target_num_replicas, ctx.total_queued_requests or 0)
        if decision.num_replicas != ctx.target_num_replicas:
            logger.info("%s: %s replicas: %s", ctx.app_name, decision.num_replicas, decision.reason)
        return decision.num_replicas, {}


def replica_loads(ctx: AutoscalingContext) -> list[ReplicaLoad]:
    """The newest report of each running replica that has reported."""
    running, idle = (_newest(ctx, name) for name in ("running", "idle_s"))
    return [ReplicaLoad(running[replica], idle.get(replica, 0.0)) for replica in running]


def _newest(ctx: AutoscalingContext, metric: str) -> dict[Any, float]:
    alive = set(ctx.running_replicas)
    series = (ctx.raw_metrics or {}).get(metric, {})
    return {replica: points[-1].value for replica, points in series.items() if points and replica in alive}
