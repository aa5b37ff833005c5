"""The queue: priorities first, then tenants by weight; a flood costs only the one who sends it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.admission import FairQueue, Rate, Ticket, Wish

MANY = 10_000


def placed(queue: FairQueue[str], item: str, tenant: str, capacity: int = MANY, **wish: float) -> Ticket[str]:
    ticket, _ = queue.place(Wish(tenant, **{"tokens": 100, **wish}), item, capacity)  # type: ignore[arg-type]
    assert ticket is not None
    return ticket


def served(queue: FairQueue[str]) -> list[str]:
    order = []
    while (ticket := queue.next()) is not None:
        order.append(ticket.item)
    return order


def test_one_tenant_s_requests_are_served_in_their_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for index in range(5):
        placed(queue, str(index), "a", tokens=500 - index * 100)
    assert served(queue) == ["0", "1", "2", "3", "4"]


def test_a_flood_of_one_tenant_does_not_make_another_wait() -> None:
    queue: FairQueue[str] = FairQueue()
    for index in range(100):
        placed(queue, f"flood-{index}", "a")
    placed(queue, "other", "b")
    assert served(queue).index("other") <= 1


def test_tenants_share_tokens_and_not_requests() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(40):
        placed(queue, "long", "a", tokens=400)
        placed(queue, "short", "b", tokens=100)
    first = served(queue)[:25]
    assert first.count("short") in range(19, 22)


def test_a_weight_is_a_share() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(40):
        placed(queue, "heavy", "a", weight=3)
        placed(queue, "light", "b", weight=1)
    assert served(queue)[:40].count("heavy") in range(29, 32)


def test_a_higher_priority_goes_first() -> None:
    queue: FairQueue[str] = FairQueue()
    placed(queue, "low", "a", priority=-1)
    placed(queue, "normal", "a")
    placed(queue, "high", "b", priority=5)
    assert served(queue) == ["high", "normal", "low"]


def test_a_full_queue_turns_away_who_would_be_last() -> None:
    queue: FairQueue[str] = FairQueue()
    placed(queue, "first", "a")
    placed(queue, "second", "a")
    assert queue.place(Wish("a", 100), "third", 2) == (None, None)
    assert served(queue) == ["first", "second"]


def test_a_newcomer_of_another_tenant_takes_the_flood_s_last_place() -> None:
    queue: FairQueue[str] = FairQueue()
    placed(queue, "first", "a")
    placed(queue, "second", "a")
    ticket, evicted = queue.place(Wish("b", 100), "other", 2)
    assert ticket is not None
    assert evicted is not None
    assert evicted.item == "second"
    assert served(queue) == ["first", "other"]


def test_a_queue_without_places_takes_nobody() -> None:
    queue: FairQueue[str] = FairQueue()
    assert queue.place(Wish("a", 1), "x", 0) == (None, None)


def test_who_leaves_is_not_served_and_costs_its_tenant_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    kept = placed(queue, "kept", "a")
    left = placed(queue, "left", "a", tokens=10_000)
    placed(queue, "other", "b")
    queue.leave(left)
    queue.leave(left)
    again = placed(queue, "again", "a")
    assert again.start == kept.start + 100
    assert "left" not in served(queue)


def test_positions_count_those_before() -> None:
    queue: FairQueue[str] = FairQueue()
    tickets = [placed(queue, str(index), "a") for index in range(3)]
    assert [queue.position(ticket) for ticket in tickets] == [0, 1, 2]


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.sampled_from("abc"), st.integers(1, 1000), st.integers(-1, 1)),
        st.tuples(st.just("next")),
        st.tuples(st.just("leave"), st.integers(0, 50)),
    ),
    max_size=120,
)


@given(steps=_STEPS, capacity=st.integers(1, 8))
def test_nobody_is_lost_or_served_twice_and_the_queue_is_bounded(steps: list[tuple], capacity: int) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting: dict[int, Ticket[int]] = {}
    for number, (kind, *arguments) in enumerate(steps):
        if kind == "place":
            tenant, tokens, priority = arguments
            ticket, evicted = queue.place(Wish(tenant, tokens, priority), number, capacity)
            if evicted is not None:
                del waiting[evicted.item]
            if ticket is not None:
                waiting[number] = ticket
            else:
                assert len(waiting) == capacity
        elif kind == "next":
            taken = queue.next()
            assert (taken is None) == (not waiting)
            if taken is not None:
                assert waiting.pop(taken.item) is taken
                assert all(taken.rank[0] <= other.rank[0] for other in waiting.values())
        elif waiting:
            gone = sorted(waiting)[arguments[0] % len(waiting)]
            queue.leave(waiting.pop(gone))
        assert len(queue) == len(waiting) <= capacity


def test_a_rate_tells_the_wait_once_it_knows_one() -> None:
    rate = Rate()
    assert rate.wait_s(5, 0.0) is None
    for tenth in range(200):
        rate.finished(tenth / 10)
    wait_s = rate.wait_s(49, 20.0)
    assert wait_s is not None
    assert 4 < wait_s < 6.5


def test_a_rate_forgets_what_was_long_ago() -> None:
    rate = Rate()
    for tenth in range(200):
        rate.finished(tenth / 10)
    assert rate.wait_s(0, 1000.0) is None
