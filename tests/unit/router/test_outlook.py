from __future__ import annotations

import pytest

from catalog.replicas import ReplicaReport
from router import outlook as outlook_module
from router.outlook import ASSUMED_ADAPTER_LOAD_S, Outlook, Place
from router.prefill import ASSUMED_BYTES_PER_S
from router.prefixes import CUTS, Prefix, prefix_of
from tests.unit.builders import report

R1, R2 = report("r1"), report("r2")


def prompt(name: str) -> Prefix:
    """A prompt of 20,000 bytes that has no beginning in common with one of another name."""
    return prefix_of({"prompt": (name * 20_000)[:20_000]})


def answered(outlook: Outlook, replica: ReplicaReport, prefix: Prefix, sent_s: float, took_s: float) -> Place:
    place = outlook.sent(replica, prefix, sent_s)
    outlook.first_token(place, sent_s + took_s)
    return place


def test_a_replica_that_is_not_known_has_no_queue_and_holds_nothing() -> None:
    estimate = Outlook().estimate(R1, prompt("a"), 5.0)
    assert (estimate.wait_s, estimate.adapter_s, estimate.held_bytes) == (0, 0, 0)
    assert estimate.prefill_s == pytest.approx(20_000 / ASSUMED_BYTES_PER_S, rel=0.01)


def test_a_prompt_that_was_sent_is_waited_for_and_is_held_from_then_on() -> None:
    outlook = Outlook()
    outlook.sent(R1, prompt("a"), 0.0)
    same, other = outlook.estimate(R1, prompt("a"), 0.0), outlook.estimate(R1, prompt("b"), 0.0)
    assert same.wait_s == other.wait_s == pytest.approx(1, rel=0.01)
    assert (same.held_bytes > 19_000, other.held_bytes) == (True, 0)
    assert same.prefill_s < 0.1 < other.prefill_s
    assert same.ttft_s == same.wait_s + same.prefill_s
    assert outlook.estimate(R2, prompt("a"), 0.0).held_bytes == 0


def test_the_speed_is_that_of_the_variant_and_the_queue_that_of_the_replica() -> None:
    outlook = Outlook()
    for step in range(20):
        answered(outlook, R1, prompt(f"step {step}"), 100.0 * step, 10.0)
    assert outlook.estimate(R2, prompt("z"), 1e6).prefill_s == pytest.approx(10, rel=0.2)
    assert outlook.estimate(report("r3", variant="other@CPU"), prompt("z"), 1e6).prefill_s == pytest.approx(1, rel=0.01)


def test_an_adapter_that_is_missing_takes_as_long_as_it_took_before() -> None:
    outlook = Outlook()
    holder = report("r1", adapters=("a",))
    assert outlook.estimate(holder, prompt("p"), 0.0, "a").adapter_s == 0
    assert outlook.estimate(R2, prompt("p"), 0.0, "a").adapter_s == ASSUMED_ADAPTER_LOAD_S
    for step in range(20):
        place = outlook.sent(R2, prompt(f"step {step}"), 100.0 * step, "a")
        outlook.first_token(place, 100.0 * step + 9)
    assert outlook.estimate(R2, prompt("p"), 1e6, "a").adapter_s == pytest.approx(8, abs=0.5)
    # What loading took is not taken for the speed of prefill.
    assert outlook.estimate(holder, prompt("p"), 1e6, "a").prefill_s == pytest.approx(1, rel=0.01)


def test_a_replica_that_does_not_hold_what_it_should_is_believed_less() -> None:
    outlook = Outlook()
    for step in range(50):
        place = answered(outlook, R1, prompt("a"), 10.0 * step, 1.0)
        outlook.used(place, 5000, 0)
    held_nothing = outlook.estimate(R1, prompt("a"), 1e6)
    assert held_nothing.held_bytes > 19_000
    assert held_nothing.prefill_s > 0.9 * outlook.estimate(R1, prompt("b"), 1e6).prefill_s
    for step in range(500):
        place = answered(outlook, R1, prompt("a"), 1e4 + 10.0 * step, 0.05)
        outlook.used(place, 5000, 4900)
    assert outlook.estimate(R1, prompt("a"), 1e6).prefill_s < 0.2 * outlook.estimate(R1, prompt("b"), 1e6).prefill_s


def test_an_engine_that_does_not_count_cached_tokens_is_believed() -> None:
    outlook = Outlook()
    for step in range(50):
        place = answered(outlook, R1, prompt("a"), 10.0 * step, 1.0)
        outlook.used(place, 5000, None)
    assert outlook.estimate(R1, prompt("a"), 1e6).prefill_s < 0.2 * outlook.estimate(R1, prompt("b"), 1e6).prefill_s


def test_more_than_fits_in_the_kv_cache_is_not_taken_to_be_held() -> None:
    outlook, small = Outlook(), report("r1", kv_capacity_tokens=12_000)
    for letter in "abc":
        outlook.sent(small, prompt(letter), 0.0)
    held = [outlook.estimate(small, prompt(letter), 0.0).held_bytes for letter in "abc"]
    assert held[0] < 5_000
    assert held[2] > 19_000
    assert sum(held) <= 12_000 * 4


def test_memory_is_bounded_over_all_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook_module, "MAX_HASHES", 200)
    outlook = Outlook()
    for number in range(300):
        outlook.sent(report(f"r{number % 4}"), prompt(f"number {number}"), 0.0)
    assert sum(len(replica.held) for replica in outlook._replicas.values()) <= 200


def test_what_other_gateways_send_counts_like_ones_own() -> None:
    mine, theirs = Outlook(), Outlook()
    place = theirs.sent(R1, prompt("a"), 50.0)
    sent = place.as_sent(50.4)
    assert sent.age_s == pytest.approx(0.4)
    mine.told(R1, sent, 7.4)
    estimate = mine.estimate(R1, prompt("a"), 7.4)
    assert estimate.wait_s == pytest.approx(place.ticket.service_s - 0.4)
    assert estimate.held_bytes == theirs.estimate(R1, prompt("a"), 0.0).held_bytes > 19_000


def test_what_has_gone_is_forgotten_and_its_requests_may_still_end() -> None:
    outlook = Outlook()
    places = [outlook.sent(replica, prompt("a"), 0.0) for replica in (R1, R1, R2)]
    outlook.heard([R2], 1.0)
    assert list(outlook._replicas) == ["r2"]
    outlook.heard([], 1.0)
    assert outlook._replicas == outlook._models == {}
    outlook.sent(R1, prompt("b"), 1.0)
    outlook.first_token(places[0], 2.0)
    outlook.used(places[0], 100, 0)
    outlook.left(places[1], 2.0)
    assert outlook.estimate(R1, prompt("c"), 1.0).wait_s == pytest.approx(1, rel=0.01)


def test_a_report_counts_once() -> None:
    outlook = Outlook()
    for step in range(10):
        answered(outlook, R1, prompt(f"step {step}"), 100.0 * step, 1.0)
    busy = report("r1", waiting=4, running=1, sent_at_s=10.0)
    outlook.heard([busy], 2000.0)
    assert outlook.estimate(R1, prompt("z"), 2000.0).wait_s == pytest.approx(2, rel=0.1)
    outlook.heard([busy], 2001.9)
    assert outlook.estimate(R1, prompt("z"), 2001.9).wait_s == pytest.approx(0.1, abs=0.1)


def test_it_remembers_hashes_and_no_text() -> None:
    outlook = Outlook()
    outlook.sent(R1, prefix_of({"prompt": "my secret " * 1000}), 0.0)
    kept = [key for replica in outlook._replicas.values() for key in replica.held._steps]
    assert {len(key) for key in kept} == {8}
    assert len(kept) == sum(cut <= 10_000 for cut in CUTS)
