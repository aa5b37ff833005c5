"""What becomes of a model is told once, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from autoscaling.notices import AT_REST_S
from catalog.errors import StoreUnavailable
from catalog.replicas import VariantState
from catalog.webhooks import ReceiverSettings
from deployments.manager import notices as module
from deployments.manager.notices import Notices
from deployments.manager.outbox import OutboxEntry
from deployments.manager.store import Kind, Store
from tests.unit.builders import CHAT, EMBEDDER, Clock, settle, status, until

READY, COLD, FAILED = VariantState.READY, VariantState.COLD, VariantState.FAILED
RECEIVER = ReceiverSettings(url="https://example.com/hooks", secret_env="S")


class Keepers:
    """One keeper for each variant, in the state that the test sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._variants: dict[str, Any] = {}

    def __iter__(self) -> Any:
        return iter(
            SimpleNamespace(
                spec=SimpleNamespace(model=key.partition("@")[0]), state=found.state, status=lambda found=found: found
            )
            for key, found in self._variants.items()
        )

    def put(self, model: str, state: VariantState, **changes: Any) -> None:
        self._variants[f"{model}@CPU"] = status(state, f"{model}@CPU", since_s=self._clock.now_s, **changes)

    def remove(self, model: str) -> None:
        del self._variants[f"{model}@CPU"]


class Received(list[OutboxEntry]):
    async def __call__(self, receiver: ReceiverSettings, entry: OutboxEntry) -> None:
        self.append(entry)

    def types(self, model: str = CHAT) -> list[str]:
        return [each.type for each in self if json.loads(each.body)["data"]["model"] == model]


@pytest.fixture
def keepers(clock: Clock) -> Keepers:
    return Keepers(clock)


@pytest.fixture
def received() -> Received:
    return Received()


async def manager(store: Store, keepers: Any, received: Received, clock: Clock) -> Notices:
    """The notices of a manager that has just begun."""
    notices = Notices(store, keepers, asyncio.Event(), received, clock)
    notices.follow([RECEIVER])
    await notices.restore()
    return notices


@pytest.fixture
async def notices(store: Store, keepers: Any, received: Received, clock: Clock) -> Notices:
    return await manager(store, keepers, received, clock)


async def look(notices: Notices) -> None:
    """Notice, and send."""
    await notices.step()
    for lane in notices._outbox.lanes():
        await lane.step()


async def test_a_life_is_told_in_order_once(
    notices: Notices, keepers: Keepers, received: Received, clock: Clock
) -> None:
    for state in (COLD, VariantState.STARTING, READY, READY, VariantState.DRAINING, COLD):
        keepers.put(CHAT, state)
        await look(notices)
    clock.now_s += AT_REST_S
    for _ in range(2):
        await look(notices)
    assert received.types() == ["model.ready", "model.scaled_to_zero"]
    assert len({each.id for each in received}) == 2


async def test_a_body_holds_type_time_and_the_model(
    notices: Notices, keepers: Keepers, received: Received, clock: Clock
) -> None:
    clock.now_s = 1_700_000_000.25
    keepers.put(CHAT, FAILED, last_error="the weights are cursed")
    await look(notices)
    assert json.loads(received[0].body) == {
        "type": "model.failed",
        "timestamp": "2023-11-14T22:13:20.250Z",
        "data": {"model": CHAT, "gpu": "CPU", "reason": "the weights are cursed"},
    }


async def test_a_new_manager_repeats_nothing(
    notices: Notices, keepers: Keepers, received: Received, store: Store, clock: Clock
) -> None:
    keepers.put(CHAT, READY)
    await look(notices)
    heir = await manager(store, keepers, received, clock)
    for state in (COLD, READY):
        keepers.put(CHAT, state)
        await look(heir)
    assert received.types() == ["model.ready"]


async def test_a_new_manager_tells_what_happened_while_there_was_none(
    notices: Notices, keepers: Keepers, received: Received, store: Store, clock: Clock
) -> None:
    keepers.put(CHAT, READY)
    await look(notices)
    heir = await manager(store, keepers, received, clock)
    keepers.put(CHAT, COLD)
    keepers.put(EMBEDDER, READY)
    clock.now_s += AT_REST_S
    await look(heir)
    assert (received.types(), received.types(EMBEDDER)) == (["model.ready", "model.scaled_to_zero"], ["model.ready"])


async def test_a_manager_that_is_killed_before_it_sends_leaves_the_event_with_its_id(
    notices: Notices, keepers: Keepers, received: Received, store: Store, clock: Clock
) -> None:
    keepers.put(CHAT, READY)
    await notices.step()
    (waiting,) = notices.entries()
    await look(await manager(store, keepers, received, clock))
    assert [each.id for each in received] == [waiting.id]


async def test_what_was_noticed_while_the_store_failed_is_told_when_it_is_back(
    notices: Notices, keepers: Keepers, received: Received, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        for state in (READY, COLD):
            keepers.put(CHAT, state)
            clock.now_s += AT_REST_S
            await look(notices)
    assert received == []
    await look(notices)
    assert received.types() == ["model.ready", "model.scaled_to_zero"]


async def test_a_model_that_leaves_the_catalog_is_forgotten(
    notices: Notices, keepers: Keepers, received: Received, store: Store
) -> None:
    keepers.put(CHAT, READY)
    await look(notices)
    assert await store.read(Kind.STANDING) == {CHAT: "ready"}
    keepers.remove(CHAT)
    await look(notices)
    assert await store.read(Kind.STANDING) == {}
    keepers.put(CHAT, READY)
    await look(notices)
    assert received.types() == ["model.ready", "model.ready"]


async def test_without_receivers_nothing_is_kept_for_them(notices: Notices, keepers: Keepers, store: Store) -> None:
    notices.follow([])
    keepers.put(CHAT, READY)
    await look(notices)
    assert await store.read(Kind.NOTICE) == {}
    assert await store.read(Kind.STANDING) == {CHAT: "ready"}


async def test_it_looks_as_soon_as_there_is_news(
    store: Store, keepers: Keepers, received: Received, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 60.0)
    has_news = asyncio.Event()
    notices = Notices(store, keepers, has_news, received, clock)  # type: ignore[arg-type]
    notices.follow([RECEIVER])
    running = asyncio.create_task(notices.run())
    await settle()
    for state in (READY, VariantState.STOPPED, READY):
        keepers.put(CHAT, state)
        has_news.set()
        await settle()
        await until(lambda: not notices._records)
    await until(lambda: len(received) == 2)
    assert received.types() == ["model.ready", "model.ready"]
    running.cancel()
    await settle()
