"""The circuit breaker's table, and that exactly one request probes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.breaker import Breaker, BreakerRules, BreakerState

RULES = BreakerRules(failures_to_open=3, open_s=5, max_open_s=15)


def opened(at_s: float = 0.0) -> Breaker:
    breaker = Breaker(RULES)
    breaker.trip(at_s)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(RULES)
    assert [breaker.failed(0.0) for _ in range(3)] == [False, False, True]
    assert breaker.state(0.0) is BreakerState.OPEN
    assert not breaker.allows(4.9)
    assert breaker.retry_after_s(1.0) == 4.0


def test_a_success_between_them_does_not() -> None:
    breaker = Breaker(RULES)
    for _ in range(10):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.state(0.0) is BreakerState.CLOSED


def test_half_open_lets_exactly_one_request_through() -> None:
    breaker = opened()
    assert breaker.state(5.0) is BreakerState.HALF_OPEN
    assert breaker.allows(5.0)
    assert breaker.begin(5.0)
    assert not breaker.allows(5.0)
    assert breaker.retry_after_s(5.0) >= 1


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.begin(5.0)
    breaker.succeeded()
    assert breaker.state(5.0) is BreakerState.CLOSED
    assert breaker.allows(5.0)


def test_a_probe_that_fails_opens_it_for_longer_and_longer_up_to_a_bound() -> None:
    breaker, now_s = opened(), 0.0
    for open_s in (5, 10, 15, 15):
        assert not breaker.allows(now_s + open_s - 0.1)
        now_s += open_s
        assert breaker.begin(now_s)
        assert breaker.failed(now_s, is_probe=True)


def test_a_probe_whose_client_leaves_lets_another_one_through() -> None:
    breaker = opened()
    breaker.ended(is_probe=breaker.begin(5.0))
    assert breaker.allows(5.0)


def test_requests_sent_before_it_opened_change_nothing_any_more() -> None:
    breaker = opened()
    assert not breaker.failed(1.0)
    assert breaker.allows(5.0)
    probe = breaker.begin(5.0)
    breaker.ended()
    assert not breaker.failed(5.0)
    assert not breaker.allows(5.0)
    breaker.ended(is_probe=probe)
    assert breaker.allows(5.0)


def test_a_trip_opens_at_once() -> None:
    breaker = Breaker(RULES)
    assert breaker.trip(0.0)
    assert not breaker.trip(0.0)
    assert not breaker.allows(0.0)


_EVENTS = st.lists(
    st.tuples(st.sampled_from(["send", "succeed", "fail", "leave"]), st.floats(0, 10)), min_size=1, max_size=80
)


@given(events=_EVENTS)
def test_never_two_probes_at_once(events: list[tuple[str, float]]) -> None:
    breaker, now_s, under_way = opened(), 0.0, [False]
    for event, gap_s in events:
        now_s += gap_s
        if event == "send":
            if breaker.allows(now_s):
                under_way.append(breaker.begin(now_s))
        elif under_way:
            is_probe = under_way.pop(0)
            if event == "fail":
                breaker.failed(now_s, is_probe=is_probe)
            elif event == "leave":
                breaker.ended(is_probe=is_probe)
            elif is_probe or breaker.state(now_s) is BreakerState.CLOSED:
                breaker.succeeded()
        assert sum(under_way) <= 1


@pytest.mark.parametrize("state", list(BreakerState))
def test_a_state_is_a_bounded_label(state: BreakerState) -> None:
    assert state.value in {"closed", "open", "half_open"}
