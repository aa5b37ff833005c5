from __future__ import annotations

from autoscaling.awake import Phase
from deployments.engine.leases import LeaseBook, News, Order


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def book() -> tuple[LeaseBook, Clock]:
    clock = Clock()
    found = LeaseBook(clock)
    found.join("a", turn_s=10)
    found.join("b", turn_s=10)
    return found, clock


def test_a_lease_passes_on_only_when_it_is_returned() -> None:
    leases, _ = book()
    leases.take("a", News(1, num_waiting=1))
    assert leases.settle() == (True, None)
    lease = leases.order("a").lease
    leases.take("a", News(2, lease=lease, is_awake=True))
    leases.take("b", News(1, num_waiting=1))
    leases.settle()
    assert leases.order("a") == Order(lease, must_yield=True)
    assert leases.order("b") == Order()
    leases.take("a", News(3, returned=lease))
    leases.settle()
    assert leases.order("b").lease > lease
    assert leases.phases() == {"a": Phase.ASLEEP, "b": Phase.WAKING}


def test_older_news_and_a_lease_returned_before_change_nothing() -> None:
    leases, _ = book()
    leases.take("a", News(2, num_waiting=1))
    leases.settle()
    order = leases.order("a")
    leases.take("a", News(1))
    leases.take("a", News(3, num_waiting=1, returned=order.lease - 1))
    assert leases.order("a") == order


def test_a_turn_ends_when_others_wait_and_its_time_is_over() -> None:
    leases, clock = book()
    leases.take("a", News(1, num_waiting=1))
    leases.settle()
    leases.take("a", News(2, lease=1, is_awake=True, is_busy=True))
    leases.take("b", News(1, num_waiting=1))
    assert leases.settle() == (False, 10.0)
    clock.now_s = 10.0
    assert leases.settle() == (True, None)
    assert leases.order("a").must_yield


def test_the_lease_of_an_engine_that_has_ended_is_free() -> None:
    leases, _ = book()
    leases.take("a", News(1, num_waiting=1))
    leases.settle()
    leases.take("b", News(1, num_waiting=1))
    leases.settle()
    assert not leases.order("b").lease
    leases.drop("a")
    leases.settle()
    assert leases.order("b").lease
