from __future__ import annotations

from deployments.gateway.dashboard.rates import LEAST_S, WINDOW_S, TokenRates
from tests.unit.builders import report


def counted(sent_at_s: float, completion_tokens: int, replica_id: str = "r1"):
    return report(replica_id, sent_at_s=sent_at_s, completion_tokens=completion_tokens)


def test_a_rate_is_what_was_made_between_two_reports() -> None:
    rates = TokenRates()
    for each in (counted(10.0, 100), counted(12.0, 300)):
        rates.note([each])
    assert rates.of([each]) == 100.0


def test_one_report_tells_no_rate() -> None:
    rates = TokenRates()
    rates.note([counted(10.0, 100)])
    assert rates.of([counted(10.0, 100)]) is None
    assert rates.of([]) is None


def test_reports_at_changes_are_too_close_to_tell_a_rate() -> None:
    rates = TokenRates()
    rates.note([counted(10.0, 0)])
    rates.note([counted(10.0 + LEAST_S / 2, 50)])
    assert rates.of([counted(0.0, 0)]) is None


def test_replicas_are_added_up() -> None:
    rates = TokenRates()
    rates.note([counted(10.0, 0), counted(70.0, 1_000, "r2")])
    rates.note([counted(11.0, 20), counted(72.0, 1_060, "r2")])
    assert rates.of([counted(0.0, 0), counted(0.0, 0, "r2")]) == 50.0


def test_what_was_long_ago_does_not_count() -> None:
    rates = TokenRates()
    for second in range(60):
        rates.note([counted(float(second), 1_000 * min(second, 30))])
    assert rates.of([counted(0.0, 0)]) == 0.0
    assert len(rates._counts["r1"]) <= WINDOW_S + 2


def test_the_same_report_twice_changes_nothing() -> None:
    rates = TokenRates()
    for each in (counted(10.0, 0), counted(11.0, 7), counted(11.0, 7), counted(10.5, 3)):
        rates.note([each])
    assert rates.of([counted(0.0, 0)]) == 7.0


def test_replicas_that_have_left_are_forgotten() -> None:
    rates = TokenRates()
    rates.note([counted(10.0, 0)])
    rates.note([counted(10.0, 0, "r2")])
    assert set(rates._counts) == {"r2"}
