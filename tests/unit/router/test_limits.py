"""The sliding window: never more than the limit, and the wait it names is the true one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.limits import WINDOW_S, Amount, Ceiling, Window, estimate_tokens

START_S = 1_000_020.0  # the beginning of a minute
ONE = Amount(1, 0)


def ceiling(requests: int | None = None, tokens: int | None = None) -> Ceiling:
    return Ceiling(requests, tokens)


def test_the_limit_can_be_used_at_once_and_no_more() -> None:
    window, limit = Window(), ceiling(requests=3)
    left = [window.take(ONE, limit, START_S).requests_left for _ in range(3)]
    assert left == [2, 1, 0]
    refused = window.take(ONE, limit, START_S)
    assert not refused.is_admitted
    assert refused.requests_left == 0


def test_a_refused_request_uses_nothing() -> None:
    window, limit = Window(), ceiling(requests=1, tokens=10)
    assert window.take(Amount(1, 5), limit, START_S).is_admitted
    for _ in range(100):
        assert not window.take(Amount(1, 5), limit, START_S + 1).is_admitted
    assert window.running == Amount(1, 5)


def test_no_limit_is_never_reached() -> None:
    window = Window()
    assert all(window.take(Amount(1, 1e6), ceiling(), START_S).is_admitted for _ in range(100))


def test_half_of_the_last_minute_counts_in_the_middle_of_the_next() -> None:
    window, limit = Window(), ceiling(requests=10)
    for _ in range(10):
        window.take(ONE, limit, START_S)
    admitted = [window.take(ONE, limit, START_S + WINDOW_S * 1.5).is_admitted for _ in range(10)]
    assert admitted == [True] * 5 + [False] * 5


def test_two_quiet_minutes_forget_everything() -> None:
    window, limit = Window(), ceiling(requests=1)
    window.take(ONE, limit, START_S)
    assert window.take(ONE, limit, START_S + 2 * WINDOW_S).is_admitted


def test_a_cost_above_the_limit_is_admitted_when_nothing_is_used() -> None:
    window, limit = Window(), ceiling(tokens=100)
    assert window.take(Amount(1, 500), limit, START_S).is_admitted
    assert not window.take(Amount(1, 1), limit, START_S).is_admitted


_TIMES = st.lists(st.floats(0, 20), min_size=1, max_size=60)


@given(gaps_s=_TIMES, requests=st.integers(1, 10), tokens=st.integers(1, 50), cost=st.integers(0, 60))
def test_after_the_wait_it_names_the_same_request_is_admitted(
    gaps_s: list[float], requests: int, tokens: int, cost: int
) -> None:
    window, limit, now_s = Window(), ceiling(requests, tokens), START_S
    amount = Amount(1, min(cost, tokens))
    for gap_s in gaps_s:
        now_s += gap_s
        verdict = window.take(amount, limit, now_s)
        assert verdict.is_admitted == (verdict.retry_after_s == 0)
        if not verdict.is_admitted:
            early = Window(window.index, window.running, window.previous)
            assert not early.take(amount, limit, now_s + verdict.retry_after_s * 0.9).is_admitted
            now_s += verdict.retry_after_s + 1e-4
            assert window.take(amount, limit, now_s).is_admitted


@given(gaps_s=st.lists(st.floats(0, 5), min_size=1, max_size=200), requests=st.integers(1, 20))
def test_no_fixed_minute_admits_more_than_the_limit(gaps_s: list[float], requests: int) -> None:
    window, now_s = Window(), START_S
    admitted: dict[int, int] = {}
    for gap_s in gaps_s:
        now_s += gap_s
        if window.take(ONE, ceiling(requests), now_s).is_admitted:
            minute = int(now_s // WINDOW_S)
            admitted[minute] = admitted.get(minute, 0) + 1
    assert max(admitted.values()) <= requests


@pytest.mark.parametrize(("later_s", "left"), [(0, 90), (WINDOW_S, 90), (2 * WINDOW_S, 100)])
def test_a_correction_reaches_the_minute_it_belongs_to(later_s: float, left: int) -> None:
    window, limit = Window(), ceiling(tokens=100)
    window.take(Amount(1, 60), limit, START_S)
    window.correct(-50, START_S, START_S + later_s)
    assert window.take(Amount(0, 0), limit, START_S + later_s).tokens_left == left


def test_no_correction_makes_a_window_negative() -> None:
    window = Window()
    window.take(Amount(1, 5), ceiling(tokens=100), START_S)
    window.correct(-500, START_S, START_S)
    assert window.running.tokens == 0


def test_an_estimate_is_prompt_and_completion() -> None:
    assert estimate_tokens(400, 50) == 150
    assert estimate_tokens(0, None) > 0
    assert not math.isinf(estimate_tokens(10**9, 2**31))
