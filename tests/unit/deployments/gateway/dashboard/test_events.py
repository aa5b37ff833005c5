"""The stream of events: a snapshot, updates at most once a second, and an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.routing import Router

from catalog.keys import ApiKeySettings
from catalog.replicas import VariantState
from deployments.gateway.dashboard import events as module
from deployments.gateway.dashboard.board import Board
from deployments.gateway.dashboard.events import HEARTBEAT_S, INTERVAL_S, MAX_STREAM_S, MAX_STREAMS, Events
from deployments.gateway.envelope import Envelope
from deployments.gateway.gpus import Gpus
from deployments.gateway.guard import Guard
from deployments.gateway.models import Models
from router.keys import Keyring, hash_key
from tests.unit.builders import CHAT, EMBEDDER, Client, Clock, Sent, http_scope, report, settle, status
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

CPU = f"{CHAT}@CPU"


class Stream:
    """The endpoint on a clock of its own, and clients of it. Time passes only by `pass_s`."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self.gateway = gateway
        self.clock = Clock(1_000.0)
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        board = Board(gateway.services, Models(gateway.fleet, gateway.providers), Gpus(gateway.fleet), self.clock)
        self.events = Events(board, gateway.departure, self.clock, self._sleep)
        self._app = Envelope(
            Guard(Router(routes=self.events.routes(), redirect_slashes=False), gateway.services),
            gateway.services.metrics,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def _sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.clock.now_s + seconds, woken))
        await woken

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        for _ in range(round(seconds / INTERVAL_S)):
            self.clock.now_s += INTERVAL_S
            due = [woken for at_s, woken in self._sleepers if at_s <= self.clock.now_s]
            self._sleepers = [each for each in self._sleepers if each[0] > self.clock.now_s]
            for woken in due:
                if not woken.done():
                    woken.set_result(None)
            await settle()

    async def open(self, sent: Callable[[Any], Any] | None = None, **headers: str) -> tuple[Any, Client]:
        sent, client = sent or Sent(), Client(b"")
        self._tasks.append(asyncio.create_task(self._app(http_scope("GET", "/v1/events", **headers), client, sent)))
        await settle()
        return sent, client

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def stream(gateway: GatewayUnderTest) -> AsyncIterator[Stream]:
    stream = Stream(gateway)
    yield stream
    await stream.close()


def told(sent: Sent) -> list[tuple[str, dict[str, Any]]]:
    """The events that a client has got: each one's name and data."""
    blocks = [block.split("\n") for block in sent.body.decode().split("\n\n") if block.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def test_a_stream_begins_with_everything(stream: Stream) -> None:
    sent, _ = await stream.open()
    assert sent.headers["content-type"].startswith("text/event-stream")
    ((name, data),) = told(sent)
    assert (name, data["now_s"]) == ("snapshot", 1_000.0)
    assert data["caller"] == {"tenant": "default", "key": None, "is_admin": True}
    assert CHAT in data["models"]
    assert CPU in data["variants"]


async def test_changes_come_at_most_once_a_second(stream: Stream) -> None:
    sent, _ = await stream.open()
    await stream.pass_s(2)
    before = len(told(sent))
    for running in range(5):
        await stream.gateway.publish(report("r1", running=running), variants=[status(VariantState.READY)])
    assert len(told(sent)) == before
    await stream.pass_s(1)
    name, data = told(sent)[-1]
    assert len(told(sent)) == before + 1
    assert (name, data["variants"][CPU]["num_running"]) == ("update", 4)
    assert data["variants"].keys() == {CPU}


async def test_while_nothing_changes_a_comment_keeps_the_stream_alive(stream: Stream) -> None:
    sent, _ = await stream.open()
    before = len(sent.messages)
    await stream.pass_s(HEARTBEAT_S - INTERVAL_S)
    assert len(sent.messages) == before
    await stream.pass_s(2)
    assert sent.messages[-1]["body"] == b": nothing new\n\n"
    assert len(sent.messages) == before + 1


async def test_a_stream_ends_when_its_client_leaves(stream: Stream) -> None:
    sent, client = await stream.open()
    client.leave()
    await settle()
    assert stream.events._num_open == 0
    num_messages = len(sent.messages)
    await stream.pass_s(60)
    assert len(sent.messages) == num_messages


async def test_a_stream_ends_in_time_and_when_its_gateway_leaves(stream: Stream) -> None:
    sent, _ = await stream.open()
    await stream.pass_s(MAX_STREAM_S)
    assert sent.has_ended
    assert stream.events._num_open == 0
    other, _ = await stream.open()
    stream.gateway.departure.is_leaving = True
    await stream.pass_s(1)
    assert other.has_ended


async def test_nothing_piles_up_behind_a_slow_client(stream: Stream) -> None:
    taken, may_take = [], asyncio.Event()

    async def slow(message: Any) -> None:
        taken.append(message)
        if message["type"] == "http.response.body":
            await may_take.wait()

    await stream.open(slow)
    for running in range(20):
        await stream.gateway.publish(report("r1", running=running), variants=[status(VariantState.READY)])
        await stream.pass_s(1)
    assert len(taken) == 2
    may_take.set()
    await settle()
    await stream.pass_s(1)
    assert json.loads(taken[-1]["body"].split(b"data: ")[1])["variants"][CPU]["num_running"] == 19
    assert len(taken) == 3


async def test_a_client_that_takes_nothing_is_given_up(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_TIMEOUT_S", 0.001)

    async def stuck(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    await stream.open(stuck)
    (task,) = stream._tasks
    await task
    assert stream.events._num_open == 0


async def test_streams_are_bounded(stream: Stream) -> None:
    for _ in range(MAX_STREAMS):
        await stream.open()
    sent, _ = await stream.open()
    assert sent.status == 429
    assert json.loads(sent.body)["error"]["code"] == "rate_limit_exceeded"


async def test_a_key_sees_its_models_only(stream: Stream) -> None:
    key = ApiKeySettings(id="few", sha256=hash_key("rmx-few-key-0123456"), tenant="acme", models=(EMBEDDER,))
    stream.gateway.keyring = Keyring([key])
    nobody, _ = await stream.open()
    assert nobody.status == 401
    sent, _ = await stream.open(authorization="Bearer rmx-few-key-0123456")
    ((_, data),) = told(sent)
    assert data["caller"] == {"tenant": "acme", "key": "few", "is_admin": False}
    assert data["models"].keys() == {EMBEDDER}
    assert CHAT not in sent.body.decode()


async def test_before_the_catalog_comes_the_stream_is_an_error(stream: Stream) -> None:
    stream.gateway.fleet._catalog = None
    sent, _ = await stream.open()
    assert (sent.status, sent.headers["retry-after"]) == (503, "1")
