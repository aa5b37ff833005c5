"""What is remembered of a model's traffic: how long its pauses last, and at which times of day it works.

A history has a fixed size (29 + 2 × 144 numbers), whatever the traffic, and is made of plain values, so that a store
can keep it: `ArrivalHistory(**json.loads(text))` brings back what `json.dumps(history._asdict())` wrote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# Pauses shorter than this are no pauses: no policy would stop an engine in one.
MIN_GAP_S = 30.0
GAP_GROWTH = 1.4
# Upper ends of all bins but the last, in seconds: 30 s … 3.1 days.
GAP_EDGES_S = tuple(MIN_GAP_S * GAP_GROWTH**i for i in range(28))
NUM_GAP_BINS = len(GAP_EDGES_S) + 1
# The newest pauses count: weights are halved when they add up to this.
MAX_GAP_WEIGHT = 200.0

DAY_S = 86_400.0
SLOT_S = 600.0
NUM_SLOTS = int(DAY_S / SLOT_S)
# Weight of the newest day in what is expected of a time of day.
NEWEST_DAY_WEIGHT = 0.3


class ArrivalHistory(NamedTuple):
    """The traffic of one model.

    `gap_weights[i]` is the weight of pauses in bin i. `slot_ratios[j]` is the share of days, the newest weighing most,
    with work in the j-th ten minutes of the day (UTC), as of day `slot_days[j]`. Times are in seconds since the epoch.
    """

    gap_weights: Sequence[float] = (0.0,) * NUM_GAP_BINS
    slot_ratios: Sequence[float] = (0.0,) * NUM_SLOTS
    slot_days: Sequence[int] = (-1,) * NUM_SLOTS
    first_seen_s: float | None = None
    last_seen_s: float | None = None


def seen(history: ArrivalHistory, now_s: float) -> ArrivalHistory:
    """The history after the model was seen at work: a request arrived or ran. Call it at each tick of such a model."""
    last_s = history.last_seen_s
    if last_s is None:
        history = history._replace(first_seen_s=now_s)
    elif now_s - last_s >= MIN_GAP_S:
        history = history._replace(gap_weights=_with_gap(history.gap_weights, now_s - last_s))
    if last_s is None or now_s // SLOT_S != last_s // SLOT_S:
        history = _with_slot(history, now_s)
    return history._replace(last_seen_s=now_s)


def gap_bin(gap_s: float) -> int:
    """The bin of a pause: 0 below the first edge, the last one from the last edge on."""
    if gap_s < MIN_GAP_S:
        return 0
    return min(NUM_GAP_BINS - 1, 1 + int(math.log(gap_s / MIN_GAP_S) / math.log(GAP_GROWTH)))


def slot_ratio(history: ArrivalHistory, at_s: float) -> float:
    """The share of days with work at this time of day, 0 to 1; the day of `at_s` itself does not count."""
    if history.first_seen_s is None:
        return 0.0
    slot, day = int(at_s % DAY_S // SLOT_S), int(at_s // DAY_S)
    marked_day = history.slot_days[slot]
    num_days = day - int(history.first_seen_s // DAY_S)
    if marked_day < 0 or num_days <= 0:
        return 0.0
    # Today's own mark is taken out again: it says nothing about whether today has work.
    today = NEWEST_DAY_WEIGHT if marked_day == day else 0.0
    age_days = max(0, day - 1 - marked_day)
    kept = (history.slot_ratios[slot] - today) / ((1 - NEWEST_DAY_WEIGHT) if today else 1.0)
    # Divided by the weight of all days there were, so that a week and two days are on one scale.
    return min(1.0, kept * (1 - NEWEST_DAY_WEIGHT) ** age_days / (1 - (1 - NEWEST_DAY_WEIGHT) ** num_days))


def _with_gap(weights: Sequence[float], gap_s: float) -> tuple[float, ...]:
    counted = list(weights)
    counted[gap_bin(gap_s)] += 1.0
    if sum(counted) > MAX_GAP_WEIGHT:
        return tuple(weight / 2 for weight in counted)
    return tuple(counted)


def _with_slot(history: ArrivalHistory, now_s: float) -> ArrivalHistory:
    slot, day = int(now_s % DAY_S // SLOT_S), int(now_s // DAY_S)
    if history.slot_days[slot] == day:
        return history
    ratios, days = list(history.slot_ratios), list(history.slot_days)
    absent_days = day - days[slot] if days[slot] >= 0 else 0
    ratios[slot] = ratios[slot] * (1 - NEWEST_DAY_WEIGHT) ** absent_days + NEWEST_DAY_WEIGHT
    days[slot] = day
    return history._replace(slot_ratios=tuple(ratios), slot_days=tuple(days))
