from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from catalog.catalog import AdapterSpec
from catalog.errors import AdapterRejected
from deployments.engine.base import TokenCount, current_tokens
from deployments.engine.door import CountedSend, Door, Tally
from deployments.engine.merge import write_interval_s
from deployments.wire import Usage, decode_usage, encode_adapter, strip_trailer
from tests.unit.builders import Client, Sent, adapter, http_scope

SECRET = "the-replica-secret"


class App:
    """An engine's app that answers when it may, and counts tokens as an engine does."""

    def __init__(self, *, stream: bool = False) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.num_entered = 0
        self.error: Exception | None = None
        self._stream = stream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.num_entered += 1
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        count = current_tokens.get()
        assert count is not None
        count.prompt_tokens, count.completion_tokens = 7, 2
        content_type = b"text/event-stream; charset=utf-8" if self._stream else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        if not self._stream:
            await send({"type": "http.response.body", "body": b"{}"})
            return
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Leases:
    """Adapter leases that note what is held."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.error: Exception | None = None

    @asynccontextmanager
    async def lease(self, spec: AdapterSpec) -> AsyncIterator[None]:
        if self.error is not None:
            raise self.error
        self.held.append(spec.name)
        try:
            yield
        finally:
            self.held.remove(spec.name)


def request(**headers: str) -> dict[str, Any]:
    return http_scope(x_raymux_secret=SECRET, **headers)


async def enter(door: Door, scope: dict[str, Any]) -> Sent:
    sent = Sent()
    await door(scope, Client(b"{}"), sent)
    return sent


@pytest.mark.parametrize(
    "headers", [{}, {"x_raymux_secret": ""}, {"x_raymux_secret": "wrong"}, {"x_raymux_secret": SECRET + "x"}]
)
async def test_only_a_caller_with_the_secret_reaches_the_engine(headers: dict[str, str]) -> None:
    app = App()
    sent = await enter(Door(app, SECRET, None, Tally()), http_scope(**headers))
    assert sent.status == 403
    assert app.num_entered == 0
    assert SECRET.encode() not in sent.body


async def test_a_caller_with_the_secret_reaches_the_engine() -> None:
    sent = await enter(Door(App(), SECRET, None, Tally()), request())
    assert (sent.status, sent.body) == (200, b"{}")


async def test_reading_the_engine_s_metrics_needs_the_secret_and_is_no_use_of_the_model() -> None:
    async def metrics(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"vllm:requests 1\n"})

    tally = Tally()
    since_s = tally.idle_since_s
    door = Door(metrics, SECRET, None, tally)
    door.draining = True
    path = {"path": "/metrics", "method": "GET"}
    assert (await enter(door, {**request(), **path})).body == b"vllm:requests 1\n"
    assert (tally.idle_since_s, tally.used_at_s) == (since_s, 0.0)
    assert (await enter(door, {**http_scope(), **path})).status == 403


async def test_a_replica_counts_its_tokens_while_they_are_made_and_after() -> None:
    tally, first, second = Tally(), TokenCount(), TokenCount()
    with tally.counting(first), tally.counting(second):
        first.completion_tokens, second.completion_tokens = 3, 4
        assert tally.completion_tokens == 7
        first.completion_tokens = 5
    assert tally.completion_tokens == 9
    await enter(Door(App(), SECRET, None, tally), request())
    assert tally.completion_tokens == 11


async def test_a_request_that_fails_leaves_its_tokens_counted() -> None:
    tally, count = Tally(), TokenCount()
    with suppress(ValueError), tally.counting(count):
        count.completion_tokens = 3
        raise ValueError
    assert tally.completion_tokens == 3
    assert not tally._counts


async def test_a_draining_replica_refuses_new_work_and_says_it_may_go_elsewhere() -> None:
    app = App()
    door = Door(app, SECRET, None, Tally())
    door.draining = True
    sent = await enter(door, request())
    assert sent.status == 503
    assert sent.headers["x-raymux-retry"] == "draining"
    assert app.num_entered == 0


async def test_draining_is_not_told_to_strangers() -> None:
    door = Door(App(), SECRET, None, Tally())
    door.draining = True
    assert (await enter(door, http_scope())).status == 403


async def test_a_request_that_runs_ends_although_the_replica_drains() -> None:
    app, tally = App(), Tally()
    door = Door(app, SECRET, None, tally)
    app.may_answer.clear()
    running = asyncio.create_task(enter(door, request()))
    await asyncio.sleep(0)
    door.draining = True
    leaving = asyncio.create_task(tally.wait_empty())
    await asyncio.sleep(0)
    assert not leaving.done()
    app.may_answer.set()
    assert (await running).status == 200
    await leaving


async def test_every_way_out_is_counted() -> None:
    app, tally = App(), Tally()
    door = Door(app, SECRET, None, tally)
    app.error = ValueError("the engine broke")
    with pytest.raises(ValueError, match="broke"):
        await enter(door, request())
    assert tally.running == 0
    app.error = None
    app.may_answer.clear()
    running = asyncio.create_task(enter(door, request()))
    await asyncio.sleep(0)
    assert tally.running == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert tally.running == 0
    await tally.wait_empty()


async def test_a_refused_request_is_not_counted() -> None:
    tally = Tally()
    since_s = tally.idle_since_s
    await enter(Door(App(), SECRET, None, tally), http_scope())
    assert tally.idle_since_s == since_s


async def test_a_replica_is_idle_only_without_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("deployments.engine.door.time", SimpleNamespace(monotonic=lambda: now_s, time=lambda: now_s))
    tally = Tally()
    now_s = 105.0
    assert tally.idle_s == 5.0
    with tally.one(), tally.one():
        assert tally.idle_s == 0.0
        now_s = 110.0
    assert tally.idle_s == 0.0
    now_s = 111.0
    assert tally.idle_s == 1.0


async def test_the_adapter_is_held_while_its_request_runs_and_no_longer() -> None:
    app, leases = App(), Leases()
    app.may_answer.clear()
    scope = request(x_raymux_adapter=encode_adapter(adapter()).decode())
    running = asyncio.create_task(enter(Door(app, SECRET, leases, Tally()), scope))
    await asyncio.sleep(0)
    assert leases.held == [adapter().name]
    app.may_answer.set()
    await running
    assert leases.held == []


async def test_the_adapter_is_let_go_when_the_engine_breaks() -> None:
    app, leases = App(), Leases()
    app.error = ValueError("the engine broke")
    scope = request(x_raymux_adapter=encode_adapter(adapter()).decode())
    with pytest.raises(ValueError, match="broke"):
        await enter(Door(app, SECRET, leases, Tally()), scope)
    assert leases.held == []


async def test_a_rejected_adapter_is_answered_with_its_own_error() -> None:
    app, leases = App(), Leases()
    leases.error = AdapterRejected("the rank is 99", param="model")
    sent = await enter(Door(app, SECRET, leases, Tally()), request(x_raymux_adapter=encode_adapter(adapter()).decode()))
    assert sent.status == 400
    assert json.loads(sent.body)["error"]["code"] == "adapter_rejected"
    assert app.num_entered == 0


async def test_a_model_without_adapters_refuses_one() -> None:
    sent = await enter(Door(App(), SECRET, None, Tally()), request(x_raymux_adapter=encode_adapter(adapter()).decode()))
    assert sent.status == 502


async def test_only_http_is_served() -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        await Door(App(), SECRET, None, Tally())({"type": "websocket", "headers": []}, Client(), Sent())


async def test_a_single_body_carries_its_usage_in_a_header() -> None:
    sent = await enter(Door(App(), SECRET, None, Tally()), request())
    usage = decode_usage(sent.headers["x-raymux-usage"].encode())
    assert usage is not None
    assert usage[:2] == (7, 2)
    assert sent.body == b"{}"


async def test_an_event_stream_carries_its_usage_in_a_trailer() -> None:
    sent = await enter(Door(App(stream=True), SECRET, None, Tally()), request())
    assert "x-raymux-usage" not in sent.headers
    body, usage = strip_trailer(sent.body)
    assert body == b"data: 1\n\ndata: [DONE]\n\n"
    assert usage is not None
    assert usage[:2] == (7, 2)
    assert sent.has_ended


async def test_times_are_counted_from_the_request_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 10.0
    tally = Tally()
    monkeypatch.setattr("deployments.engine.door.time", SimpleNamespace(perf_counter=lambda: now_s))
    sent = Sent()
    counted = CountedSend(sent, tally)
    now_s = 10.25
    await counted({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await counted({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    now_s = 11.0
    await counted({"type": "http.response.body", "body": b""})
    assert strip_trailer(sent.body)[1] == Usage(0, 0, 250.0, 1000.0)


async def test_another_body_in_pieces_is_passed_on_as_it_is() -> None:
    sent = Sent()
    counted = CountedSend(sent, Tally())
    await counted({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await counted({"type": "http.response.body", "body": b"[1,", "more_body": True})
    await counted({"type": "http.response.body", "body": b"2]"})
    assert sent.body == b"[1,2]"


async def test_the_head_waits_for_the_body() -> None:
    sent = Sent()
    await CountedSend(sent, Tally())({"type": "http.response.start", "status": 200, "headers": []})
    assert sent.messages == []


async def test_requests_count_their_tokens_apart() -> None:
    app = App(stream=True)
    door = Door(app, SECRET, None, Tally())
    replies = await asyncio.gather(*(enter(door, request()) for _ in range(20)))
    assert {strip_trailer(sent.body)[1][:2] for sent in replies} == {(7, 2)}
    assert current_tokens.get() is None


def alive_for(num_looks: int) -> Callable[[], bool]:
    looks = iter([True] * num_looks)
    return lambda: next(looks, False)


async def test_a_dead_engine_is_given_nothing() -> None:
    app = App()
    sent = await enter(Door(app, SECRET, None, Tally(), is_alive=alive_for(0)), request())
    assert (sent.status, sent.headers["x-raymux-retry"]) == (503, "draining")
    assert app.num_entered == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_dead_engine_says_before_the_first_byte_is_left_to_another_one(stream: bool) -> None:
    sent = await enter(Door(App(stream=stream), SECRET, None, Tally(), is_alive=alive_for(1)), request())
    assert sent.status == 503
    assert sent.headers["x-raymux-retry"] == "engine died"
    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("error", [ValueError("the engine core is gone"), AdapterRejected("not now")])
async def test_an_adapter_that_a_dead_engine_did_not_load_is_left_to_another_one(error: Exception) -> None:
    leases = Leases()
    leases.error = error
    headers = {"x_raymux_adapter": encode_adapter(adapter()).decode()}
    sent = await enter(Door(App(), SECRET, leases, Tally(), is_alive=alive_for(1)), request(**headers))
    assert (sent.status, sent.headers["x-raymux-retry"]) == (503, "engine died")


async def test_a_stream_whose_engine_dies_goes_on_to_its_error() -> None:
    sent = await enter(Door(App(stream=True), SECRET, None, Tally(), is_alive=alive_for(2)), request())
    assert sent.status == 200
    assert b"data: 1" in sent.body


async def test_writes_are_as_far_apart_as_the_busier_of_replica_and_gateway_needs() -> None:
    tally = Tally()
    door = Door(App(), SECRET, None, tally)
    await enter(door, request(x_raymux_ongoing="50"))
    assert tally.write_interval_s == write_interval_s(50)
    with ExitStack() as running:
        for _ in range(60):
            running.enter_context(tally.one())
        assert tally.write_interval_s == write_interval_s(60)
    await enter(door, request(x_raymux_ongoing="1"))
    assert tally.write_interval_s == write_interval_s(1)
