"""Policies that the simulator runs: raymux's own, a fixed keep-alive and Knative's. Each instance scales one model."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import NamedTuple, Protocol

from autoscaling.history import SLOT_S, ArrivalHistory, seen
from autoscaling.keep_alive import KeepAliveRules, idle_timeout_s
from autoscaling.policy import Needs, ReplicaLoad, ScalingRules, decide, num_needed
from autoscaling.prewarm import is_expected


class Signals(NamedTuple):
    """What a policy may know at `now_s`: replicas that answer, that start, that were asked for; requests; idle time.

    `mean_ongoing` is the mean of running and queued requests since the tick before.
    """

    now_s: float
    num_ready: int
    num_starting: int
    num_target: int
    running: int
    queued: int
    idle_s: float
    mean_ongoing: float

    @property
    def ongoing(self) -> int:
        return self.running + self.queued


class Verdict(NamedTuple):
    """How many replicas to have, and when to ask again if nothing happens meanwhile (seconds; 0 for the next tick)."""

    num_replicas: int
    ask_again_s: float = 0.0


class Policy(Protocol):
    """Scales one model."""

    def decide(self, signals: Signals) -> Verdict: ...


class FixedKeepAlive:
    """`autoscaling.policy` with one idle timeout for all models."""

    def __init__(self, rules: ScalingRules) -> None:
        self._rules = rules
        self._needs = Needs()

    def decide(self, signals: Signals) -> Verdict:
        verdict, self._needs = _decided(self._rules, signals, self._needs, expected=False)
        return verdict


class Learned:
    """`autoscaling.policy` as raymux runs it: idle timeout and prewarming from the model's own history."""

    def __init__(self, rules: ScalingRules, keep_alive: KeepAliveRules, *, prewarms: bool = True) -> None:
        self._rules = rules
        self._keep_alive = keep_alive
        self._prewarms = prewarms
        self._history = ArrivalHistory()
        self._needs = Needs()

    def decide(self, signals: Signals) -> Verdict:
        if signals.ongoing or signals.idle_s == 0:
            gaps = self._history.gap_weights
            self._history = seen(self._history, signals.now_s)
            if self._history.gap_weights is not gaps:
                timeout_s = idle_timeout_s(self._history, self._keep_alive)
                self._rules = replace(self._rules, idle_timeout_s=timeout_s)
        expected = self._prewarms and is_expected(
            self._history, self._keep_alive, signals.now_s, is_warm=signals.num_target > 0
        )
        verdict, self._needs = _decided(self._rules, signals, self._needs, expected=expected)
        # What is expected changes with the ten minutes of the day.
        if self._prewarms and self._history.first_seen_s is not None:
            next_slot_s = SLOT_S - (signals.now_s + self._keep_alive.start_s) % SLOT_S
            verdict = verdict._replace(ask_again_s=min(verdict.ask_again_s, next_slot_s))
        return verdict


def _decided(rules: ScalingRules, signals: Signals, needs: Needs, *, expected: bool) -> tuple[Verdict, Needs]:
    loads: list[ReplicaLoad] = []
    if signals.num_ready:
        load = ReplicaLoad(signals.running / signals.num_ready, 0.0 if signals.ongoing else signals.idle_s)
        loads = [load] * signals.num_ready
        needs = needs.with_need(num_needed(rules, loads, signals.queued), signals.now_s, rules.shrink_after_s)
    decision = decide(rules, loads, signals.num_target, signals.queued, is_expected=expected, needs=needs)
    if signals.ongoing or decision.num_replicas != signals.num_target or decision.num_replicas > 1:
        return Verdict(decision.num_replicas), needs
    wait_s = rules.idle_timeout_s - signals.idle_s if decision.num_replicas else math.inf
    return Verdict(decision.num_replicas, wait_s if wait_s > 0 else SLOT_S), needs


class Kpa:
    """Knative's pod autoscaler with its defaults.

    Averages over a stable window of 60 s and a panic window of a tenth of it, 70% of the container's concurrency as
    target, panic from twice the capacity on (nothing is scaled down while it lasts), at most half of the replicas gone
    at a time, and 30 s of grace before the last one goes. (knative/serving, `pkg/autoscaler/scaling/autoscaler.go` and
    `config-autoscaler`.)
    """

    STABLE_S = 60.0
    TARGET_RATIO = 0.7
    PANIC_RATIO = 2.0
    GRACE_S = 30.0

    def __init__(self, num_slots: int, max_replicas: int, tick_s: float) -> None:
        self._target = num_slots * self.TARGET_RATIO
        self._max_replicas = max_replicas
        self._window: deque[float] = deque(maxlen=round(self.STABLE_S / tick_s))
        self._panic_since_s: float | None = None
        self._panic_replicas = 0
        self._grace_until_s: float | None = None

    def decide(self, signals: Signals) -> Verdict:
        if not signals.num_ready and not signals.num_target:
            self._window.clear()
            return Verdict(1) if signals.ongoing else Verdict(0, math.inf)
        self._window.append(signals.mean_ongoing)
        stable = math.ceil(sum(self._window) / len(self._window) / self._target)
        panic = math.ceil(self._window[-1] / self._target)
        wanted = max(stable, math.floor(signals.num_target / 2)) if stable < signals.num_target else stable
        wanted = min(self._with_panic(signals, wanted, panic), self._max_replicas)
        return Verdict(self._with_grace(signals, wanted))

    def _with_panic(self, signals: Signals, wanted: int, panic: int) -> int:
        if signals.num_ready and panic >= self.PANIC_RATIO * signals.num_ready:
            self._panic_since_s = signals.now_s
        elif self._panic_since_s is not None and signals.now_s - self._panic_since_s >= self.STABLE_S:
            self._panic_since_s, self._panic_replicas = None, 0
        if self._panic_since_s is None:
            return wanted
        self._panic_replicas = max(self._panic_replicas, panic, signals.num_target)
        return max(wanted, self._panic_replicas)

    def _with_grace(self, signals: Signals, wanted: int) -> int:
        """The last replica stays while it starts, and for the grace period after the windows are empty."""
        if wanted or not signals.num_ready:
            self._grace_until_s = None
            return max(1, wanted)
        if self._grace_until_s is None:
            self._grace_until_s = signals.now_s + self.GRACE_S
        return 0 if signals.now_s >= self._grace_until_s else 1
