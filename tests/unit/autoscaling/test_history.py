from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.history import DAY_S, GAP_EDGES_S, NUM_GAP_BINS, ArrivalHistory, gap_bin, seen, slot_ratio
from autoscaling.keep_alive import KeepAliveRules, idle_timeout_s
from autoscaling.prewarm import is_expected

# Midnight UTC.
START_S = 20_000 * DAY_S
EIGHT_S = 8 * 3600.0


def after(gaps_s: list[float], start_s: float = START_S) -> ArrivalHistory:
    history, now_s = seen(ArrivalHistory(), start_s), start_s
    for gap_s in gaps_s:
        now_s += gap_s
        history = seen(history, now_s)
    return history


def rules(min_s: float = 60, max_s: float = 7200, start_s: float = 64, late_s: float = 3000, num_gpus: int = 1):
    return KeepAliveRules(min_s, max_s, start_s, late_s, num_gpus)


@given(st.floats(0, 1e7))
def test_every_pause_has_a_bin_whose_edges_hold_it(gap_s: float) -> None:
    index = gap_bin(gap_s)
    assert 0 <= index < NUM_GAP_BINS
    slack = 1e-9
    assert index == 0 or gap_s >= GAP_EDGES_S[index - 1] * (1 - slack)
    assert index == NUM_GAP_BINS - 1 or gap_s <= GAP_EDGES_S[index] * (1 + slack)


@given(st.lists(st.floats(1, 1e5), max_size=300))
def test_a_history_keeps_its_size_and_comes_back_from_json(gaps_s: list[float]) -> None:
    history = after(gaps_s)
    restored = ArrivalHistory(**json.loads(json.dumps(history._asdict())))
    assert len(history.gap_weights) == NUM_GAP_BINS
    assert idle_timeout_s(restored, rules()) == idle_timeout_s(history, rules())
    now_s = START_S + sum(gaps_s) + 100
    assert seen(restored, now_s)._asdict() | {"gap_weights": 0, "slot_ratios": 0, "slot_days": 0} == seen(
        history, now_s
    )._asdict() | {"gap_weights": 0, "slot_ratios": 0, "slot_days": 0}


# Idle time


@given(gaps=st.lists(st.floats(1, 1e5), max_size=100), low=st.floats(1, 500), extra=st.floats(0, 5000))
def test_an_idle_time_is_within_its_bounds(gaps: list[float], low: float, extra: float) -> None:
    assert low <= idle_timeout_s(after(gaps), rules(low, low + extra)) <= low + extra


@pytest.mark.parametrize("gap_s", [200.0, 600.0, 1200.0])
def test_pauses_shorter_than_the_break_even_are_bridged(gap_s: float) -> None:
    timeout_s = idle_timeout_s(after([gap_s] * 40), rules())
    # Bins grow by 1.4, and the belief before any pause still weighs a little.
    assert gap_s < timeout_s < 2.5 * gap_s


def test_pauses_longer_than_the_break_even_are_not_waited_for() -> None:
    assert idle_timeout_s(after([3 * 3600.0] * 40), rules()) == 60


def test_what_holds_more_gpus_lets_go_sooner() -> None:
    history = after([1200.0] * 40)
    assert idle_timeout_s(history, rules(num_gpus=8)) < idle_timeout_s(history, rules(num_gpus=1))


# Prewarming


def daily(days: list[int], at_s: float = EIGHT_S) -> ArrivalHistory:
    history = ArrivalHistory()
    for day in days:
        history = seen(history, START_S + day * DAY_S + at_s)
    return history


def test_a_time_of_day_is_as_likely_as_the_days_that_had_it() -> None:
    always, seldom = daily(list(range(6))), daily([0, 4])
    at_s = START_S + 6 * DAY_S + EIGHT_S
    assert slot_ratio(always, at_s) == pytest.approx(1.0)
    assert 0 < slot_ratio(seldom, at_s) < 0.5
    assert slot_ratio(always, at_s + 3600) == 0
    assert slot_ratio(ArrivalHistory(), at_s) == 0


def test_todays_own_work_says_nothing_about_today() -> None:
    at_s = START_S + 6 * DAY_S + EIGHT_S
    history = daily(list(range(6)))
    assert slot_ratio(seen(history, at_s), at_s) == pytest.approx(slot_ratio(history, at_s))


def test_a_habit_is_expected_just_before_its_time_and_one_day_is_none() -> None:
    before_s = START_S + 6 * DAY_S + EIGHT_S - 30
    assert is_expected(daily(list(range(6))), rules(), before_s, is_warm=False)
    assert not is_expected(daily([0, 4]), rules(), before_s, is_warm=False)
    assert not is_expected(daily([5]), rules(), before_s, is_warm=False)
    # Two minutes of break-even are not worth ten minutes of eight GPUs.
    assert not is_expected(daily(list(range(6))), rules(late_s=500, num_gpus=8), before_s, is_warm=False)
