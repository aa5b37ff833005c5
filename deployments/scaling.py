"""Serve's autoscaling policy interface, adapted to `autoscaling.policy`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ray.serve.config import AutoscalingContext

from autoscaling.policy import Needs, ReplicaLoad, ScalingRules, decide, num_needed
from catalog.replicas import ScalingDecision
from deployments import decisions

logger = logging.getLogger("ray.serve")


# A KV cache that is fuller than this preempts requests, which then wait for their prefill again.
TARGET_KV_RATIO = 0.9


class ServePolicy:
    """Called by the Serve controller for a variant at each of its ticks.

    Serve keeps what it needed lately and when it was last asked for (`quiet_since_s`, seconds since the epoch).
    """

    def __init__(
        self,
        idle_timeout_s: float,
        target_ongoing_requests: float,
        note: Callable[[str, ScalingDecision], None] = decisions.note,
    ) -> None:
        self._note = note
        self._idle_timeout_s = idle_timeout_s
        self._target_ongoing_requests = target_ongoing_requests

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        loads = replica_loads(ctx)
        # Calls wait for a replica only as long as there is none; the controller adds them up anew at each tick.
        queued = 0.0 if loads else ctx.total_queued_requests or 0.0
        rules = ScalingRules(
            # Replicas are told of a learned time, or of another one, without being replaced.
            idle_timeout_s=max(_newest(ctx, "idle_timeout_s").values(), default=self._idle_timeout_s),
            target_kv_ratio=TARGET_KV_RATIO,
            target_ongoing_requests=self._target_ongoing_requests,
            max_replicas=ctx.capacity_adjusted_max_replicas,
            min_replicas=ctx.capacity_adjusted_min_replicas,
        )
        state, now_s = ctx.policy_state or {}, time.time()
        needs = Needs(*state.get("needs", ())).with_need(num_needed(rules, loads, queued), now_s, rules.shrink_after_s)
        if loads:
            quiet_since_s = now_s - min(load.idle_s for load in loads)
        else:
            quiet_since_s = now_s if queued else state.get("quiet_since_s", now_s)
        decision = decide(rules, loads, ctx.target_num_replicas, queued, needs=needs, quiet_s=now_s - quiet_since_s)
        if decision.num_replicas != ctx.target_num_replicas:
            logger.info("%s: %s replicas: %s", ctx.app_name, decision.num_replicas, decision.reason)
            before, after = ctx.target_num_replicas, decision.num_replicas
            self._note(str(ctx.app_name), ScalingDecision(round(now_s, 3), before, after, decision.reason))
        return decision.num_replicas, {"needs": tuple(needs), "quiet_since_s": quiet_since_s}


def replica_loads(ctx: AutoscalingContext) -> list[ReplicaLoad]:
    """The newest report of each running replica that has reported."""
    running, idle, kv = (_newest(ctx, name) for name in ("running", "idle_s", "kv_ratio"))
    return [ReplicaLoad(running[replica], idle.get(replica, 0.0), kv_ratio=kv.get(replica, 0.0)) for replica in running]


def _newest(ctx: AutoscalingContext, metric: str) -> dict[Any, float]:
    alive = set(ctx.running_replicas)
    series = (ctx.raw_metrics or {}).get(metric, {})
    return {replica: points[-1].value for replica, points in series.items() if points and replica in alive}
