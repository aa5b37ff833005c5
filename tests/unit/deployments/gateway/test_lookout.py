from __future__ import annotations

import pytest

from deployments.gateway.exchange import Exchange
from deployments.gateway.lookout import MAX_SENT, Lookout, Prompt
from deployments.wire import Usage
from tests.unit.builders import PIRATE, Clock, adapter, report

R1, R2 = report("r1"), report("r2")


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def lookout(clock: Clock) -> Lookout:
    return Lookout(clock)


def prompt(name: str = "a", tenant: str = "acme", *, is_stream: bool = True) -> Prompt:
    return Prompt({"prompt": (name * 20_000)[:20_000]}, tenant, is_stream=is_stream)


def exchange(clock: Clock) -> Exchange:
    return Exchange("id", "POST", "/v1/completions", begun_s=clock.now_s)


def test_a_first_token_is_seen_when_the_next_choice_is_made(lookout: Lookout, clock: Clock) -> None:
    mine = exchange(clock)
    with lookout.following(R1, prompt("a"), None, mine):
        assert lookout.estimator(prompt("b"), None)(R1).wait_s == pytest.approx(1, rel=0.01)
        clock.now_s += 10
        mine.first_byte_ms = 100.0
        assert lookout.estimator(prompt("b"), None)(R1).wait_s == 0
        # It took a tenth of a second, so the next one should not take ten.
        assert lookout.estimator(prompt("b"), None)(R2).prefill_s < 1


def test_a_stream_that_breaks_off_is_waited_for_no_more(lookout: Lookout, clock: Clock) -> None:
    with pytest.raises(ConnectionError), lookout.following(R1, prompt("a"), None, exchange(clock)):
        raise ConnectionError
    assert lookout.estimator(prompt("b"), None)(R1).wait_s == 0
    assert not lookout._awaited


def test_a_whole_reply_leaves_nothing_behind(lookout: Lookout, clock: Clock) -> None:
    with lookout.following(R1, prompt("a", is_stream=False), None, exchange(clock)):
        assert not lookout._awaited
        clock.now_s += 30
    assert lookout.estimator(prompt("b"), None)(R1).wait_s == 0


def test_the_exchange_says_what_was_expected(lookout: Lookout, clock: Clock) -> None:
    first, second = exchange(clock), exchange(clock)
    with lookout.following(R1, prompt("a"), None, first):
        pass
    clock.now_s += 100
    with lookout.following(R1, prompt("a"), None, second):
        pass
    assert first.expected_ms == pytest.approx(1000, rel=0.01)
    assert (first.held_ratio, second.held_ratio) == (0, pytest.approx(1, abs=0.05))
    assert second.expected_ms < 100


def test_tenants_and_adapters_do_not_see_each_others_prompts(lookout: Lookout, clock: Clock) -> None:
    spec = adapter(PIRATE)
    with lookout.following(R1, prompt("a", "acme"), spec, exchange(clock)):
        pass

    def num_held(tenant: str, spec=None) -> int:
        return lookout.estimator(prompt("a", tenant), spec)(R1).held_bytes

    assert num_held("acme", spec) > 19_000
    assert num_held("acme") == num_held("other", spec) == num_held("other") == 0


def test_what_the_engine_counted_is_taken_over(lookout: Lookout, clock: Clock) -> None:
    for _ in range(50):
        mine = exchange(clock)
        with lookout.following(R1, prompt("a"), None, mine):
            mine.usage = Usage(5000, 1, cached_tokens=0)
        clock.now_s += 100
    described = lookout.describe(R1)
    assert described is not None
    assert described["cached_ratio"] == 0
    # What should be held has never been there.
    assert lookout.estimator(prompt("a"), None)(R1).prefill_s > 0.9 * lookout.estimator(prompt("b"), None)(R1).prefill_s


def test_others_are_told_once_and_only_if_there_are_any(lookout: Lookout, clock: Clock) -> None:
    with lookout.following(R1, prompt("a"), None, exchange(clock)):
        pass
    assert lookout.take_sent() == ()
    lookout.has_others = True
    for number in range(2 * MAX_SENT):
        with lookout.following(R1, prompt(f"{number} "), None, exchange(clock)):
            pass
    clock.now_s += 0.5
    sent = lookout.take_sent()
    assert len(sent) == MAX_SENT
    assert {each.replica_id for each in sent} == {"r1"}
    assert sent[-1].age_s == 0.5
    assert lookout.take_sent() == ()


def test_what_another_gateway_sent_is_known_to_be_held(lookout: Lookout, clock: Clock) -> None:
    other = Lookout(clock)
    other.has_others = True
    with other.following(R1, prompt("a"), None, exchange(clock)):
        lookout.told(R1, other.take_sent()[0])
    estimate = lookout.estimator(prompt("a"), None)(R1)
    assert estimate.held_bytes > 19_000
    assert estimate.wait_s == pytest.approx(1, rel=0.01)


def test_of_a_replica_that_got_nothing_nothing_is_expected(lookout: Lookout, clock: Clock) -> None:
    with lookout.following(R1, prompt("a"), None, exchange(clock)):
        pass
    described = lookout.describe(R1)
    assert described is not None
    assert set(described) == {"wait_s", "prefill_bytes_per_s", "held_prefix_bytes", "cached_ratio"}
    assert lookout.describe(R2) is None
    lookout.heard([R2])
    assert lookout.describe(R1) is None
