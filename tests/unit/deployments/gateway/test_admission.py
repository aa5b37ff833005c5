"""The queue in front of a model: bounded, told about in streams, and left by who leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from deployments.gateway import admission
from deployments.gateway.exchange import Reply
from router.keys import Keyring
from tests.unit.builders import CHAT, Client, catalog_dict, catalog_settings, report, settle, until
from tests.unit.deployments.gateway.conftest import GatewayUnderTest, chat_scope
from tests.unit.deployments.gateway.test_guard import headers, key

ACME, OTHER = "rmx-acme-key-0123456", "rmx-other-key-0123456"


class Gate:
    """Replicas that answer only when the test lets them; `entered` counts the requests they have."""

    def __init__(self) -> None:
        self.entered: list[str | None] = []
        self._open = asyncio.Semaphore(0)

    def let(self, number: int) -> None:
        for _ in range(number):
            self._open.release()

    async def __call__(self, reply: Reply) -> None:
        self.entered.append(reply.exchange.caller.tenant)
        await self._open.acquire()
        await reply.whole(200, {})


@pytest.fixture
async def gate(gateway: GatewayUnderTest) -> AsyncIterator[Gate]:
    """One replica that takes two requests at once, and a queue of three."""
    models = catalog_dict()["models"]
    models[0]["queue"] = {"max_ongoing_per_replica": 2, "max_queued_requests": 3, "max_queue_wait_s": 30}
    gateway.manager.configure(catalog_settings(models=models))
    gateway.keyring = Keyring([key("acme", ACME, tenant="acme"), key("other", OTHER, tenant="other")])
    await gateway.publish(report("r1"))
    gate = Gate()
    gateway.relay.script = [gate] * 100
    yield gate
    gate.let(100)


def start(gateway: GatewayUnderTest, number: int, secret: str = ACME) -> list[asyncio.Task[httpx.Response]]:
    return [asyncio.create_task(gateway.chat(headers(secret))) for _ in range(number)]


async def answered(tasks: list[asyncio.Task[httpx.Response]]) -> list[int]:
    return [(await task).status_code for task in tasks]


async def test_a_replica_gets_as_many_as_it_takes_and_the_others_wait(gateway: GatewayUnderTest, gate: Gate) -> None:
    tasks = start(gateway, 5)
    await until(lambda: gateway.services.admission.num_queued.get(CHAT) == 3)
    assert len(gate.entered) == 2
    gate.let(5)
    assert await answered(tasks) == [200] * 5
    assert gateway.services.admission.num_queued == {}


async def test_who_finds_the_queue_full_is_told_at_once_when_to_come_back(
    gateway: GatewayUnderTest, gate: Gate
) -> None:
    tasks = start(gateway, 5)
    await until(lambda: gateway.services.admission.num_queued.get(CHAT) == 3)
    refused = await gateway.chat(headers(ACME))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    gate.let(5)
    assert await answered(tasks) == [200] * 5


async def test_a_tenant_that_fills_the_queue_does_not_keep_another_out(gateway: GatewayUnderTest, gate: Gate) -> None:
    tasks = start(gateway, 5)
    await until(lambda: gateway.services.admission.num_queued.get(CHAT) == 3)
    others = start(gateway, 1, OTHER)
    await settle()
    gate.let(2)
    await until(lambda: len(gate.entered) == 4)
    assert "other" in gate.entered
    gate.let(10)
    assert await answered(others) == [200]
    assert sorted(await answered(tasks)) == [200] * 4 + [429]


async def test_who_leaves_gives_its_place_to_the_next(gateway: GatewayUnderTest, gate: Gate) -> None:
    tasks = start(gateway, 2)
    await until(lambda: len(gate.entered) == 2)
    client = Client(b'{"model": "demo-chat"}')
    waiting = asyncio.create_task(gateway.call(chat_scope(authorization=f"Bearer {ACME}"), client))
    await until(lambda: gateway.services.admission.num_queued.get(CHAT) == 1)
    client.leave()
    await waiting
    assert gateway.services.admission.num_queued.get(CHAT) == 0
    later = start(gateway, 1)
    gate.let(3)
    assert await answered([*tasks, *later]) == [200] * 3
    assert len(gate.entered) == 3


async def test_a_request_does_not_wait_for_longer_than_it_may(
    gateway: GatewayUnderTest, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(gateway.services.admission, "_clock", lambda: float(next(clock)))
    monkeypatch.setattr(admission, "LOOK_AGAIN_S", 0)
    tasks = start(gateway, 2)
    await until(lambda: len(gate.entered) == 2)
    refused = await gateway.chat(headers(ACME))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    gate.let(2)
    assert await answered(tasks) == [200, 200]


async def test_a_stream_that_waits_gets_comments(
    gateway: GatewayUnderTest, gate: Gate, no_pauses: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "LOOK_AGAIN_S", 0)
    monkeypatch.setattr(admission, "FIRST_COMMENT_AFTER_S", 0)
    tasks = start(gateway, 2)
    await until(lambda: len(gate.entered) == 2)
    client = Client(b'{"model": "demo-chat", "stream": true}')
    scope = chat_scope(authorization=f"Bearer {ACME}")
    waiting = asyncio.create_task(gateway.call(scope, client))
    await until(lambda: gateway.services.admission.num_queued.get(CHAT) == 1)
    for _ in range(20):
        await asyncio.sleep(0)
    gate.let(3)
    sent = await waiting
    assert b": raymux queued before=0 waited_s=" in sent.body
    assert await answered(tasks) == [200, 200]


async def test_a_new_replica_is_room_for_those_who_wait(gateway: GatewayUnderTest, gate: Gate) -> None:
    tasks = start(gateway, 4)
    await until(lambda: gateway.services.admission.num_queued.get(CHAT) == 2)
    await gateway.publish(report("r1"), report("r2"))
    await until(lambda: len(gate.entered) == 4)
    gate.let(4)
    assert await answered(tasks) == [200] * 4
