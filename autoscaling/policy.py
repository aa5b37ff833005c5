"""How many replicas a variant should have: a pure function of what its replicas report.

Up at once when there are more ongoing requests than the replicas should carry, down to zero when every replica has been
idle for the idle timeout, down by one at a time once the rest could carry the load with a fifth to spare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

# Fewer replicas must be enough with this much room before one leaves, so that the count does not flap.
SHRINK_MARGIN_RATIO = 0.8


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Bounds of one variant. `idle_timeout_s` in seconds, `target_ongoing_requests` per replica."""

    idle_timeout_s: float
    target_ongoing_requests: float
    max_replicas: int
    min_replicas: int = 0


class ReplicaLoad(NamedTuple):
    """One running replica: requests in it, and seconds since it last had one (0 while it has)."""

    running: float
    idle_s: float


class Decision(NamedTuple):
    """The number of replicas to have, and why."""

    num_replicas: int
    reason: str


def decide(rules: ScalingRules, loads: list[ReplicaLoad], num_target: int, num_queued: float) -> Decision:
    """The number of replicas a variant should have now.

    `loads` are the replicas that report, `num_target` is what was asked for last (it includes replicas that still
    start), `num_queued` are calls that wait for a replica, such as a request that wakes the model.
    """
    decision = _wanted(rules, loads, num_target, num_queued)
    bounded = min(max(decision.num_replicas, rules.min_replicas), rules.max_replicas)
    return decision if bounded == decision.num_replicas else Decision(bounded, f"{decision.reason}; bounded")


def _wanted(rules: ScalingRules, loads: list[ReplicaLoad], num_target: int, num_queued: float) -> Decision:
    if not loads:
        # Nothing reports: either all is cold, or the first replica is starting and must be left to start.
        wanted = max(num_target, 1 if num_queued > 0 else 0)
        return Decision(wanted, "starting" if wanted else "cold")
    ongoing = sum(load.running for load in loads) + num_queued
    if ongoing == 0 and all(load.idle_s >= rules.idle_timeout_s for load in loads):
        return Decision(0, f"idle for {rules.idle_timeout_s:g} s")
    needed = max(1, math.ceil(ongoing / rules.target_ongoing_requests))
    if needed > num_target:
        return Decision(needed, f"{ongoing:g} ongoing requests")
    has_room = ongoing <= (num_target - 1) * rules.target_ongoing_requests * SHRINK_MARGIN_RATIO
    if num_target > 1 and has_room and len(loads) >= num_target:
        return Decision(num_target - 1, f"{num_target - 1} replicas carry {ongoing:g} ongoing requests")
    return Decision(max(1, num_target), "steady")
