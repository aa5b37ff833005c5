"""The retry budget: enough for a replica that dies, never a storm."""

from __future__ import annotations

from router.retries import RESERVE, RESERVE_PER_S, RETRY_RATIO, RetryBudget


def spend(budget: RetryBudget, now_s: float) -> int:
    count = 0
    while budget.withdraw(now_s):
        count += 1
    return count


def test_an_idle_gateway_may_retry_what_a_dying_replica_held() -> None:
    assert spend(RetryBudget(), 0.0) == RESERVE


def test_a_storm_gets_its_share_and_no_more() -> None:
    budget = RetryBudget()
    spend(budget, 0.0)
    for _ in range(100):
        budget.deposit()
    assert abs(spend(budget, 0.0) - 100 * RETRY_RATIO) <= 1


def test_the_reserve_comes_back_over_time_and_is_bounded() -> None:
    budget = RetryBudget()
    spend(budget, 0.0)
    assert spend(budget, 2.0) == 2 * RESERVE_PER_S
    assert spend(budget, 10_000.0) == RESERVE
