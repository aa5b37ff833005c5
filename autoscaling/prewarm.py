"""Whether a model should be ready ahead of the request that its own past makes likely."""

from __future__ import annotations

from autoscaling.history import DAY_S, SLOT_S, ArrivalHistory, slot_ratio
from autoscaling.keep_alive import KeepAliveRules

# Days a model must have been known for: one day's habit is none.
MIN_DAYS = 2
# Below this a time of day is no habit; holding GPUs for it was found to pay worse than a longer keep-alive.
MIN_RATIO = 0.7


def arrival_ratio(history: ArrivalHistory, from_s: float) -> float:
    """How likely work is in the ten minutes of the day that `from_s` falls into, 0 to 1, by the days before."""
    if history.first_seen_s is None or from_s // DAY_S - history.first_seen_s // DAY_S < MIN_DAYS:
        return 0.0
    return slot_ratio(history, from_s)


def is_expected(history: ArrivalHistory, rules: KeepAliveRules, now_s: float, *, is_warm: bool) -> bool:
    """Whether a replica should be there for what the next minutes are expected to bring, started now if need be.

    Looks at the ten minutes in which a replica started now would become ready and, where one is there already, at
    those of now too. With likelihood p a request comes in them, halfway on average, and spares the break-even time;
    else the GPUs are held for all of them: worth it when p × break-even > (1 - p / 2) × 600 s,
    and p is at least 0.7.
    """
    ratio = arrival_ratio(history, now_s + rules.start_s)
    if is_warm:
        ratio = max(ratio, arrival_ratio(history, now_s))
    return ratio >= MIN_RATIO and ratio * rules.break_even_s > (1 - ratio / 2) * SLOT_S
