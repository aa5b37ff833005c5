"""Ray Serve's own default scaling policy, as the controller calls it, for the simulator.

Private imports, of Ray 2.60: the controller wraps the public `default_autoscaling_policy` in
`_apply_autoscaling_config` (factors, delays) before it bounds the result, and there is no public way to get the whole.
The delays are measured with `time.time()`, so the module's `time` is replaced by a clock that the simulator sets.
"""

from __future__ import annotations

import math
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

from ray.serve import autoscaling_policy
from ray.serve._private.constants import SERVE_AUTOSCALING_DECISION_TIMESTAMP_KEY
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from autoscaling.simulator.policies import Signals, Verdict

# Replicas and handles report every ten seconds by default.
METRICS_INTERVAL_S = 10.0
# `ray.llm._internal.serve.constants`: the target of Ray Serve LLM's deployments, which nothing ever reaches.
LLM_TARGET_ONGOING_REQUESTS = 1e9


class Clock:
    """Stands in for the module `time` in Ray's own."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


class RayDefault:
    """Ray's default policy for one model. All but the target, scale to zero and `max_replicas` is its default."""

    def __init__(self, target_ongoing_requests: float, max_replicas: int) -> None:
        self._config = AutoscalingConfig(
            min_replicas=0, max_replicas=max_replicas, target_ongoing_requests=target_ongoing_requests
        )
        self._policy = autoscaling_policy._apply_autoscaling_config(autoscaling_policy.default_autoscaling_policy)
        self._state: dict[str, Any] = {}
        self._clock = Clock()
        self._reports: deque[float] = deque(maxlen=round(self._config.look_back_period_s / METRICS_INTERVAL_S))

    def decide(self, signals: Signals) -> Verdict:
        self._reports.append(signals.mean_ongoing)
        context = SimpleNamespace(
            config=self._config,
            current_num_replicas=signals.num_ready,
            target_num_replicas=signals.num_target,
            total_num_requests=signals.queued if not signals.num_target else sum(self._reports) / len(self._reports),
            policy_state=self._state,
        )
        self._clock.now_s = signals.now_s
        autoscaling_policy.time = cast(Any, self._clock)  # pyright: ignore[reportPrivateImportUsage]
        num_replicas, self._state = self._policy(cast(AutoscalingContext, context))
        num_replicas = min(num_replicas, self._config.max_replicas)
        return Verdict(num_replicas, self._ask_again_s(signals, num_replicas))

    def _ask_again_s(self, signals: Signals, num_replicas: int) -> float:
        """Nothing changes for an idle model before the delay that runs has passed."""
        if not num_replicas:
            return math.inf
        since_s = self._state.get(SERVE_AUTOSCALING_DECISION_TIMESTAMP_KEY)
        if max(self._reports) > 0 or since_s is None:
            return 0.0
        return max(0.0, since_s + self._config.downscale_delay_s - signals.now_s)
