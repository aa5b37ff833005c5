"""How many replicas a variant should have: a pure function of what its replicas report.

Up at once when there are more ongoing requests, tokens or KV cache than the replicas should carry; down to zero when
every replica has been idle for the idle timeout and nothing is expected; down by one at a time once the rest could
carry the load of the last minutes with a fifth to spare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

# From a replica's start to its first report, at most; whoever waits for one has a call queued until it is there.
UNHEARD_S = 30.0
# Fewer replicas must be enough with this much room before one leaves, so that the count does not flap.
SHRINK_MARGIN_RATIO = 0.8


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Bounds of one variant.

    `idle_timeout_s` in seconds (`autoscaling.keep_alive` learns it). A replica should carry at most
    `target_ongoing_requests`, and where these are set, at most `target_tokens` in flight and `target_kv_ratio` (0 to 1)
    of its KV cache. `shrink_after_s` is how long a need is remembered before a replica above it leaves.
    """

    idle_timeout_s: float
    target_ongoing_requests: float
    max_replicas: int
    min_replicas: int = 0
    target_tokens: float | None = None
    target_kv_ratio: float | None = None
    shrink_after_s: float = 120.0


class ReplicaLoad(NamedTuple):
    """One running replica: requests in it, and seconds since it last had one (0 while it has).

    `tokens` (prompt and completion tokens of its ongoing requests) and `kv_ratio` (0 to 1) where its engine reports
    them.
    """

    running: float
    idle_s: float
    tokens: float = 0.0
    kv_ratio: float = 0.0


class Needs(NamedTuple):
    """The most replicas that were needed lately: over the half window that runs, and over the one before.

    Three numbers hold a sliding maximum over at least half of and at most the whole window.
    """

    since_s: float = -math.inf
    newest: int = 0
    previous: int = 0

    @property
    def most(self) -> int:
        return max(self.newest, self.previous)

    def with_need(self, needed: int, now_s: float, window_s: float) -> Needs:
        """The needs with that of now."""
        age_s = now_s - self.since_s
        if age_s < window_s / 2:
            return self if needed <= self.newest else self._replace(newest=needed)
        return Needs(now_s, needed, self.newest if age_s < window_s else 0)


class Decision(NamedTuple):
    """The number of replicas to have, and why."""

    num_replicas: int
    reason: str


def decide(
    rules: ScalingRules,
    loads: list[ReplicaLoad],
    num_target: int,
    num_queued: float,
    *,
    is_expected: bool = False,
    needs: Needs | None = None,
    quiet_s: float = 0.0,
) -> Decision:
    """The number of replicas a variant should have now.

    `loads` are the replicas that report, `num_target` is what was asked for last (it includes replicas that still
    start), `num_queued` are calls that wait for a replica, such as a request that wakes the model. `is_expected` says
    that requests are likely soon (`autoscaling.prewarm`), `needs` what was needed lately, `num_needed` of each tick.
    `quiet_s` is how long nobody has asked for the variant, with replicas or without.
    """
    if loads:
        decision = _wanted(rules, loads, num_target, num_queued, is_expected, needs.most if needs else 0)
    else:
        is_forgotten = quiet_s > rules.idle_timeout_s + UNHEARD_S
        decision = _wanted_without_replicas(num_target, num_queued, is_expected, is_forgotten)
    bounded = min(max(decision.num_replicas, rules.min_replicas), rules.max_replicas)
    return decision if bounded == decision.num_replicas else Decision(bounded, f"{decision.reason}; bounded")


def num_needed(rules: ScalingRules, loads: list[ReplicaLoad], num_queued: float, room_ratio: float = 1.0) -> int:
    """Replicas that the load takes when each is filled to `room_ratio` of its targets; 0 without any load.

    The largest of what requests, tokens and KV cache ask for, as in the Kubernetes autoscaler, which takes the largest
    of its metrics. Queued calls have no tokens yet and count as requests only.
    """
    ongoing = sum(load.running for load in loads) + num_queued
    needed = ongoing / (rules.target_ongoing_requests * room_ratio)
    if rules.target_tokens:
        needed = max(needed, sum(load.tokens for load in loads) / (rules.target_tokens * room_ratio))
    if rules.target_kv_ratio:
        needed = max(needed, sum(load.kv_ratio for load in loads) / (rules.target_kv_ratio * room_ratio))
    return math.ceil(needed)


def _wanted(
    rules: ScalingRules,
    loads: list[ReplicaLoad],
    num_target: int,
    num_queued: float,
    is_expected: bool,
    num_needed_lately: int,
) -> Decision:
    ongoing = sum(load.running for load in loads) + num_queued
    if ongoing == 0 and all(load.idle_s >= rules.idle_timeout_s for load in loads):
        if is_expected:
            return Decision(1, "requests are expected")
        return Decision(0, f"idle for {rules.idle_timeout_s:g} s")
    needed = max(1, num_needed(rules, loads, num_queued))
    if needed > num_target:
        return Decision(needed, f"{ongoing:g} ongoing requests")
    if num_target > 1 and len(loads) >= num_target:
        fewer = num_target - 1
        # KV cache is spread anew over those that stay, so the load is summed and not averaged.
        if max(num_needed(rules, loads, num_queued, SHRINK_MARGIN_RATIO), num_needed_lately) <= fewer:
            return Decision(fewer, f"{fewer} replicas carry {ongoing:g} ongoing requests")
    return Decision(max(1, num_target), "steady")


def _wanted_without_replicas(num_target: int, num_queued: float, is_expected: bool, is_forgotten: bool) -> Decision:
    """Nothing reports: all is cold, or the first replica is starting and must be left to start, or all were lost.

    Those that were lost come back as long as they would have stayed: no node is to be added later on for nobody.
    """
    if num_queued > 0:
        return Decision(max(num_target, 1), "starting")
    if is_expected:
        return Decision(max(num_target, 1), "requests are expected")
    if num_target and is_forgotten:
        return Decision(0, "lost, and nobody has asked since")
    return Decision(num_target, "starting" if num_target else "cold")
