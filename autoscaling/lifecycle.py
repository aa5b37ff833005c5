"""The life of a variant, as its status shows it, and the wait after a failed start.

Transitions:

    cold        -> scheduling   a request, a warm-up or `start` asks for it
    scheduling  -> starting     its replica's process runs
    starting    -> ready        its engine answers
    starting    -> failed       its engine cannot start; tried again after the backoff
    ready       -> draining     idle for long enough, stopped, or replaced
    draining    -> cold         its last request has ended
    any         -> draining     stopped by hand, until its application has gone
    draining    -> stopped      then; only `start` ends it
"""

from __future__ import annotations

from collections.abc import Iterable

from catalog.replicas import ReplicaReport, ReplicaState, VariantState

MAX_BACKOFF_S = 300.0
# Weight of the newest start in the expected time of the next one.
NEWEST_WEIGHT = 0.5


def variant_state(
    replicas: Iterable[ReplicaReport], *, is_asked_for: bool, is_deployed: bool, is_stopped: bool, has_failed: bool
) -> VariantState:
    """The state of a variant from its replicas' reports and what was decided about it."""
    if is_stopped:
        # Whatever its replicas say, and before a manager that has just begun hears them.
        return VariantState.DRAINING if is_deployed else VariantState.STOPPED
    states = {replica.state for replica in replicas}
    if ReplicaState.READY in states:
        return VariantState.READY
    if ReplicaState.STARTING in states:
        return VariantState.STARTING
    if is_asked_for:
        return VariantState.SCHEDULING
    if ReplicaState.DRAINING in states:
        return VariantState.DRAINING
    return VariantState.FAILED if has_failed else VariantState.COLD


def backoff_s(num_failures: int, first_s: float) -> float:
    """Seconds to wait after the given number of failed starts in a row: doubles each time, at most 300."""
    return min(MAX_BACKOFF_S, first_s * 2.0 ** min(max(0, num_failures - 1), 32))


def expected_start_s(previous_s: float | None, newest_s: float) -> float:
    """What the next start should take, from the estimate so far and the newest start, both in seconds."""
    if previous_s is None:
        return newest_s
    return previous_s + NEWEST_WEIGHT * (newest_s - previous_s)
