"""Events of webhooks: none is lost once it was taken, none is done twice, and one that fails holds up no other."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.errors import InvalidRequest, ModelExists, ModelLoading, RaymuxError, StoreUnavailable
from deployments.manager.entries import KEPT_S, Outcome
from deployments.manager.inbox import Inbox
from deployments.manager.store import Kind, Store
from router.webhooks import RETRY_AFTER_S, Event
from tests.unit.builders import Clock

REGISTER = Event("job.succeeded", "register", {"name": "peft:m:j"})
PROMOTE = Event("model.promote", "promote", {"model": "m"})


class Manager:
    """What the inbox calls; `errors` are the outcomes of its calls, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.errors: list[RaymuxError | Exception | None] = []

    async def __call__(self, verb: str, data: dict[str, Any]) -> RaymuxError | None:
        self.calls.append((verb, data))
        outcome = self.errors.pop(0) if self.errors else None
        if isinstance(outcome, RaymuxError) or outcome is None:
            return outcome
        raise outcome


@pytest.fixture
def manager() -> Manager:
    return Manager()


@pytest.fixture
def inbox(store: Store, manager: Manager, clock: Clock) -> Inbox:
    return Inbox(store, manager, clock)


def outcome(inbox: Inbox, id: str = "e1") -> Outcome:
    return next(entry.outcome for entry in inbox.entries() if entry.id == id)


async def test_an_event_is_done_once_however_often_it_comes(inbox: Inbox, manager: Manager) -> None:
    assert await inbox.take("e1", REGISTER)
    assert not await inbox.take("e1", REGISTER)
    await inbox.step()
    assert not await inbox.take("e1", REGISTER)
    await inbox.step()
    assert manager.calls == [("register", REGISTER.data)]
    assert outcome(inbox) is Outcome.DONE


async def test_what_was_taken_survives_the_manager(inbox: Inbox, manager: Manager, store: Store, clock: Clock) -> None:
    await inbox.take("e1", REGISTER)
    heir = Inbox(store, manager, clock)
    await heir.restore()
    await heir.step()
    assert len(manager.calls) == 1
    again = Inbox(store, manager, clock)
    await again.restore()
    await again.step()
    assert not await again.take("e1", REGISTER)
    assert len(manager.calls) == 1


async def test_events_are_done_in_the_order_they_came(inbox: Inbox, manager: Manager, clock: Clock) -> None:
    await inbox.take("z", REGISTER)
    clock.now_s += 1
    await inbox.take("a", PROMOTE)
    await inbox.step()
    assert [verb for verb, _ in manager.calls] == ["register", "promote"]


@pytest.mark.parametrize("error", [ModelLoading("later"), StoreUnavailable("full"), RuntimeError("a fault of ours")])
async def test_what_may_pass_is_tried_again_later(
    inbox: Inbox, manager: Manager, clock: Clock, error: Exception
) -> None:
    manager.errors = [error]
    await inbox.take("e1", REGISTER)
    wait_s = await inbox.step()
    assert outcome(inbox) is Outcome.PENDING
    assert wait_s == RETRY_AFTER_S[0]
    await inbox.step()
    assert len(manager.calls) == 1
    clock.now_s += wait_s
    await inbox.step()
    assert outcome(inbox) is Outcome.DONE


@pytest.mark.parametrize("error", [InvalidRequest("bad"), ModelExists("taken")])
async def test_what_cannot_be_is_given_up_at_once(inbox: Inbox, manager: Manager, error: RaymuxError) -> None:
    manager.errors = [error]
    await inbox.take("e1", REGISTER)
    await inbox.step()
    assert outcome(inbox) is Outcome.FAILED
    assert inbox.entries()[0].error == error.code


async def test_after_the_last_try_it_is_given_up(inbox: Inbox, manager: Manager, clock: Clock) -> None:
    manager.errors = [ModelLoading("later") for _ in range(20)]
    await inbox.take("e1", REGISTER)
    for _ in range(20):
        await inbox.step()
        clock.now_s += max(RETRY_AFTER_S)
    assert outcome(inbox) is Outcome.FAILED
    assert len(manager.calls) == len(RETRY_AFTER_S) + 1


async def test_one_that_waits_holds_up_no_other(inbox: Inbox, manager: Manager) -> None:
    manager.errors = [ModelLoading("later")]
    await inbox.take("e1", REGISTER)
    await inbox.step()
    await inbox.take("e2", PROMOTE)
    await inbox.step()
    assert outcome(inbox, "e2") is Outcome.DONE


async def test_an_unknown_type_is_kept_and_ignored(inbox: Inbox, manager: Manager) -> None:
    assert await inbox.take("e1", Event("invoice.paid", None, {}))
    await inbox.step()
    assert manager.calls == []
    assert outcome(inbox) is Outcome.IGNORED


async def test_what_cannot_be_written_is_not_taken(inbox: Inbox, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        with pytest.raises(StoreUnavailable):
            await inbox.take("e1", REGISTER)
    assert await inbox.take("e1", REGISTER), "the sender's next try is no duplicate"


async def test_old_events_are_forgotten(inbox: Inbox, store: Store, clock: Clock) -> None:
    await inbox.take("e1", REGISTER)
    await inbox.step()
    clock.now_s += KEPT_S + 1
    await inbox.step()
    assert inbox.entries() == []
    assert await store.read(Kind.EVENT) == {}


async def test_records_of_an_older_raymux_are_taken_over(store: Store, manager: Manager, clock: Clock) -> None:
    record = {"id": "e1", "type": "model.promote", "verb": "promote", "data": {"model": "m"}, "received_s": 1.0}
    state = {"outcome": "pending", "num_attempts": 1, "due_s": 2.0, "error": "model_loading"}
    await store.put(Kind.EVENT, "e1", record | state)
    heir = Inbox(store, manager, clock)
    await heir.restore()
    await heir.step()
    assert manager.calls == [("promote", {"model": "m"})]
