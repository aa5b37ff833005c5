from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prefill import ASSUMED_BYTES_PER_S, PrefillCost, PrefillQueue

seconds = st.floats(0.001, 100, allow_nan=False)


def learned(observations: list[tuple[float, float]]) -> PrefillCost:
    cost = PrefillCost()
    for num_bytes, took_s in observations:
        cost.observe(num_bytes, took_s)
    return cost


def test_before_anything_was_seen_a_speed_is_assumed() -> None:
    assert PrefillCost().seconds(2 * ASSUMED_BYTES_PER_S) == 2


@pytest.mark.parametrize(("base_s", "bytes_per_s"), [(0.0, 500.0), (0.02, 40_000.0), (0.3, 1e6)])
def test_base_and_speed_are_learned_from_noisy_answers(base_s: float, bytes_per_s: float) -> None:
    rng = random.Random(0)
    sizes = [rng.expovariate(1 / 20_000) for _ in range(300)]
    cost = learned([(size, (base_s + size / bytes_per_s) * rng.uniform(0.9, 1.1)) for size in sizes])
    for size in (0.0, 5_000.0, 50_000.0):
        expected_s = base_s + size / bytes_per_s
        assert cost.seconds(size) == pytest.approx(expected_s, rel=0.15, abs=0.1 * (base_s + 20_000 / bytes_per_s))


def test_another_speed_is_learned_anew() -> None:
    rng = random.Random(0)
    sizes = [rng.uniform(1_000, 100_000) for _ in range(1000)]
    cost = learned([(size, size / 1000) for size in sizes] + [(size, size / 4000) for size in sizes])
    assert cost.seconds(100_000) == pytest.approx(25, rel=0.1)


@given(st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1e4)), max_size=50))
def test_whatever_was_seen_more_bytes_never_take_less_time(observations: list[tuple[float, float]]) -> None:
    cost = learned(observations)
    assert 0 <= cost.seconds(0) <= cost.seconds(1000) < cost.seconds(1_000_000)


def test_a_prompt_waits_for_those_before_it_and_the_queue_empties_with_time() -> None:
    queue = PrefillQueue()
    assert queue.wait_s(100.0) == 0
    queue.join(1, 2.0, 100.0)
    queue.join(1, 3.0, 101.0)
    assert queue.wait_s(101.0) == 4
    assert queue.wait_s(104.0) == 1


def test_a_first_token_that_is_late_moves_all_that_waits_behind_it_once() -> None:
    queue = PrefillQueue()
    tickets = [queue.join(1, 1.0, 0.0) for _ in range(4)]
    # Each takes two seconds, but one was expected.
    assert queue.first_token(tickets[0], 2.0) == 2
    assert queue.wait_s(2.0) == 3
    assert queue.first_token(tickets[1], 4.0) == 2
    assert queue.wait_s(4.0) == 2


def test_a_replica_that_takes_longer_than_its_kind_is_slow_and_others_are_not() -> None:
    slow, usual = PrefillQueue(), PrefillQueue()
    for step in range(100):
        slow.first_token(slow.join(1, 1.0, 10.0 * step), 10.0 * step + 2)
        usual.first_token(usual.join(1, 1.0, 10.0 * step), 10.0 * step + 1)
    assert slow.slowness == pytest.approx(2, abs=0.15)
    assert usual.slowness == pytest.approx(1)
    slow.join(1, 1.0, 2000.0)
    assert slow.wait_s(2000.0) == pytest.approx(slow.slowness)


def test_others_prompts_are_waited_for_and_teach_nothing_about_ones_own() -> None:
    queue = PrefillQueue()
    first = queue.join(1, 1.0, 0.0)
    queue.others_joined(5.0, 0.5)
    assert queue.wait_s(0.5) == 5.5
    mine = queue.join(1, 1.0, 0.5)
    assert queue.first_token(first, 1.0) is None
    assert queue.first_token(mine, 7.0) == 6
    assert queue.slowness > 1


def test_a_queue_that_is_late_is_expected_to_be_late_by_as_much_again() -> None:
    queue = PrefillQueue()
    queue.join(1, 1.0, 0.0)
    assert [queue.wait_s(now_s) for now_s in (0.5, 1.0, 3.0, 11.0)] == [0.5, 0, 2, 10]


def test_a_reply_that_comes_as_a_whole_is_no_queue_that_is_late() -> None:
    queue = PrefillQueue()
    ticket = queue.join(1, 1.0, 0.0, is_stream=False)
    assert queue.wait_s(30.0) == 0
    queue.left(ticket, 30.0)
    assert queue.wait_s(30.0) == 0


def test_what_was_broken_off_is_waited_for_no_more() -> None:
    queue = PrefillQueue()
    first, second = queue.join(1, 4.0, 0.0), queue.join(1, 2.0, 0.0)
    queue.left(second, 1.0)
    assert queue.wait_s(1.0) == 3
    queue.left(first, 1.0)
    assert queue.wait_s(1.0) == 0


def test_a_report_corrects_what_a_gateway_thinks() -> None:
    queue = PrefillQueue()
    queue.others_joined(50.0, 0.0)
    queue.heard(0, 1.0, 1.0, is_idle=False)
    assert queue.wait_s(1.0) == 49
    queue.heard(0, 1.0, 1.0, is_idle=True)
    assert queue.wait_s(1.0) == 0
    queue.heard(8, 1.0, 1.0, is_idle=False)
    assert queue.wait_s(1.0) == 4


def test_a_stale_report_of_an_idle_replica_does_not_hide_what_was_just_sent() -> None:
    queue = PrefillQueue()
    queue.join(1, 3.0, 0.0)
    queue.heard(0, 1.0, 0.1, is_idle=True)
    assert queue.wait_s(0.1) == 2.9


@given(st.lists(st.tuples(st.sampled_from(["join", "token", "left", "others", "heard"]), seconds), max_size=60))
def test_a_wait_is_never_negative_and_an_empty_queue_is_never_late(events: list[tuple[str, float]]) -> None:
    queue, tickets, now_s = PrefillQueue(), [], 0.0
    for what, value in events:
        now_s += value
        if what == "join":
            tickets.append(queue.join(1, value, now_s))
        elif what == "others":
            queue.others_joined(value, now_s)
        elif what == "heard":
            queue.heard(int(value), 1.0, now_s, is_idle=value < 1)
        elif tickets and what == "token":
            queue.first_token(tickets.pop(0), now_s)
        elif tickets:
            queue.left(tickets.pop(), now_s)
        assert queue.wait_s(now_s) >= 0
        assert queue.slowness > 0
    for ticket in tickets:
        queue.left(ticket, now_s)
    assert queue.wait_s(now_s + 1e6) == 0
