"""Each receiver gets each event, in order and with one id, however often it takes; none holds up another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from catalog.errors import StoreUnavailable
from catalog.webhooks import NoticeType, ReceiverSettings
from deployments.manager import outbox as module
from deployments.manager.entries import KEPT_S, Outcome
from deployments.manager.outbox import NotDelivered, Outbox, OutboxEntry, Outgoing
from deployments.manager.store import Kind, Record, Store
from router.webhooks import RETRY_AFTER_S
from tests.unit.builders import Clock, settle, until

A, B, C = (f"https://{name}.example.com/" for name in "abc")


class Net:
    """What sends; `failures` are raised by the next sends to a receiver, one that is in `hanging` never answers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.failures: defaultdict[str, list[Exception]] = defaultdict(list)
        self.hanging: set[str] = set()

    async def __call__(self, receiver: ReceiverSettings, entry: OutboxEntry) -> None:
        self.sent.append((receiver.url, entry.id))
        if receiver.url in self.hanging:
            await asyncio.Event().wait()
        if self.failures[receiver.url]:
            raise self.failures[receiver.url].pop(0)

    def to(self, url: str) -> list[str]:
        return [id for receiver, id in self.sent if receiver == url]


def receiver(url: str = A, **fields: Any) -> ReceiverSettings:
    return ReceiverSettings.model_validate({"url": url, "secret_env": "S", **fields})


def event(id: str = "m1", type: NoticeType = NoticeType.READY) -> Outgoing:
    return Outgoing(id=id, type=type, body=f'{{"of": "{id}"}}')


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def outbox(store: Store, net: Net, clock: Clock) -> Outbox:
    outbox = Outbox(store, net, clock)
    outbox.follow([receiver(A), receiver(B)])
    return outbox


async def step(outbox: Outbox) -> list[float]:
    return [await lane.step() for lane in outbox.lanes()]


def outcomes(outbox: Outbox, url: str = A) -> dict[str, Outcome]:
    return {each.id: each.outcome for each in outbox.entries() if each.receiver == url}


async def test_every_receiver_gets_an_event_once_with_the_same_id(outbox: Outbox, net: Net) -> None:
    await outbox.take([event()])
    await step(outbox)
    await step(outbox)
    assert net.sent == [(A, "m1"), (B, "m1")]


async def test_a_receiver_gets_the_types_that_it_wants(outbox: Outbox, net: Net) -> None:
    outbox.follow([receiver(A), receiver(B, events=[NoticeType.FAILED])])
    await outbox.take([event("m1"), event("m2", NoticeType.FAILED)])
    await step(outbox)
    assert (net.to(A), net.to(B)) == (["m1", "m2"], ["m2"])


async def test_what_was_taken_survives_the_manager_with_its_id(
    outbox: Outbox, net: Net, store: Store, clock: Clock
) -> None:
    await outbox.take([event("m1"), event("m2")])
    net.failures[A] = [NotDelivered("timeout")]
    await step(outbox)
    heir = Outbox(store, net, clock)
    await heir.restore()
    heir.follow([receiver(A), receiver(B)])
    clock.now_s += RETRY_AFTER_S[0]
    await step(heir)
    assert (net.to(A), net.to(B)) == (["m1", "m1", "m2"], ["m1", "m2"])


async def test_a_failed_event_is_tried_again_with_growing_waits_and_then_given_up(
    outbox: Outbox, net: Net, clock: Clock
) -> None:
    net.failures[A] = [NotDelivered("status_503") for _ in range(20)]
    await outbox.take([event()])
    waits: list[float] = []
    while outcomes(outbox)["m1"] is Outcome.PENDING:
        wait_s, _ = await step(outbox)
        waits.append(wait_s)
        clock.now_s += wait_s
    assert tuple(waits[:-1]) == RETRY_AFTER_S
    assert net.to(A) == ["m1"] * (len(RETRY_AFTER_S) + 1)
    last = next(each for each in outbox.entries() if each.receiver == A)
    assert (last.outcome, last.error) == (Outcome.FAILED, "status_503")


async def test_later_events_wait_for_earlier_ones_of_the_same_receiver_only(
    outbox: Outbox, net: Net, clock: Clock
) -> None:
    net.failures[A] = [NotDelivered("connection_failed")]
    await outbox.take([event("m1")])
    await step(outbox)
    await outbox.take([event("m2")])
    await step(outbox)
    assert (net.to(A), net.to(B)) == (["m1"], ["m1", "m2"])
    clock.now_s += RETRY_AFTER_S[0]
    await step(outbox)
    assert net.to(A) == ["m1", "m1", "m2"]


@pytest.mark.parametrize("failure", [NotDelivered("status_410", is_final=True), RuntimeError("a fault of ours")])
async def test_only_what_may_pass_is_tried_again(outbox: Outbox, net: Net, failure: Exception) -> None:
    net.failures[A] = [failure]
    await outbox.take([event("m1"), event("m2")])
    await step(outbox)
    is_final = isinstance(failure, NotDelivered)
    assert outcomes(outbox)["m1"] is (Outcome.FAILED if is_final else Outcome.PENDING)
    assert net.to(A) == (["m1", "m2"] if is_final else ["m1"])


async def test_a_receiver_that_hangs_holds_up_no_other(outbox: Outbox, net: Net) -> None:
    net.hanging = {A}
    outbox.begin()
    for number in range(3):
        await outbox.take([event(f"m{number}")])
        while len(net.to(B)) <= number or outcomes(outbox, B)[f"m{number}"] is not Outcome.DONE:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert net.to(A) == ["m0"]
    outbox.end()
    await settle()


async def test_receivers_come_and_go_while_events_are_sent(outbox: Outbox, net: Net) -> None:
    net.hanging = {A}
    outbox.begin()
    await outbox.take([event("m1")])
    await until(lambda: net.to(A) and net.to(B))
    outbox.follow([receiver(C)])
    await outbox.take([event("m2")])
    await until(lambda: net.to(C))
    await settle()
    assert (net.to(A), net.to(B), net.to(C)) == (["m1"], ["m1"], ["m2"])
    outbox.end()
    await settle()


async def test_a_receiver_that_leaves_gets_nothing_more_and_what_it_was_to_get_is_dropped(
    outbox: Outbox, net: Net, store: Store
) -> None:
    net.failures[A] = [NotDelivered("timeout")]
    await outbox.take([event("m1")])
    await step(outbox)
    outbox.follow([receiver(B)])
    await outbox.take([event("m2")])
    await outbox.tidy()
    await step(outbox)
    assert net.to(A) == ["m1"]
    assert outcomes(outbox, A) == {}
    assert len(await store.read(Kind.NOTICE)) == 2


async def test_a_receiver_that_comes_is_told_what_happens_from_then_on(outbox: Outbox, net: Net) -> None:
    outbox.follow([receiver(A)])
    await outbox.take([event("m1")])
    outbox.follow([receiver(A), receiver(B)])
    await outbox.take([event("m2")])
    await step(outbox)
    assert (net.to(A), net.to(B)) == (["m1", "m2"], ["m2"])


async def test_changed_settings_of_a_receiver_hold_for_what_waits(outbox: Outbox, net: Net) -> None:
    await outbox.take([event("m1")])
    outbox.follow([receiver(A, timeout_s=3), receiver(B)])
    assert outbox.lanes()[0].receiver.timeout_s == 3
    await step(outbox)
    assert net.to(A) == ["m1"]


async def test_what_cannot_be_written_is_neither_sent_nor_kept(
    outbox: Outbox, net: Net, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        await step(outbox)
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(StoreUnavailable):
        await outbox.take([event()], Record(Kind.STANDING, "m", "ready"))
    assert (outbox.entries(), net.sent) == ([], [])


async def test_records_are_written_with_the_events(outbox: Outbox, store: Store) -> None:
    await outbox.take([event()], Record(Kind.STANDING, "m", "ready"))
    assert await store.read(Kind.STANDING) == {"m": "ready"}


async def test_of_too_many_the_oldest_are_given_up(
    outbox: Outbox, net: Net, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    for number in range(4):
        clock.now_s += 1
        await outbox.take([event(f"m{number}")])
    await outbox.tidy()
    await step(outbox)
    assert net.to(A) == net.to(B) == ["m2", "m3"]


async def test_old_events_are_forgotten(outbox: Outbox, store: Store, clock: Clock) -> None:
    await outbox.take([event()])
    await step(outbox)
    clock.now_s += KEPT_S + 1
    await outbox.tidy()
    assert outbox.entries() == []
    assert await store.read(Kind.NOTICE) == {}


async def test_logs_name_the_host_of_a_receiver_and_not_its_path(
    outbox: Outbox, net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "https://c.example.com/a-path-that-is-a-secret"
    outbox.follow([receiver(secret)])
    net.failures[secret] = [NotDelivered("timeout")]
    await outbox.take([event()])
    with caplog.at_level("WARNING", logger="ray.serve"):
        await step(outbox)
    assert "c.example.com" in caplog.text
    assert "secret" not in caplog.text
