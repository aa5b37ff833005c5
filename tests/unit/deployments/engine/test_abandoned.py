from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from starlette.responses import StreamingResponse

from deployments.engine import abandoned
from tests.unit.builders import http_scope, until


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StreamingResponse, "stream_response", StreamingResponse.stream_response)
    abandoned.close_abandoned_streams()


class Generation:
    """What an engine does for one request: tokens without end, and an abort that itself has to wait."""

    def __init__(self) -> None:
        self.is_running = False
        self.was_aborted = False

    async def tokens(self) -> AsyncIterator[str]:
        self.is_running = True
        try:
            while True:
                yield "token "
        finally:
            self.is_running = False
            await asyncio.sleep(0)
            self.was_aborted = True


@pytest.mark.usefixtures("patched")
async def test_a_generation_ends_with_its_client_though_the_task_waits_to_send() -> None:
    generation, is_stuck, has_left = Generation(), asyncio.Event(), asyncio.Event()

    async def send(message) -> None:
        if message.get("body"):
            is_stuck.set()
            await asyncio.Event().wait()

    async def receive():
        await has_left.wait()
        return {"type": "http.disconnect"}

    # Held, as a cycle would hold it: collecting garbage must not be what ends it.
    response = StreamingResponse(generation.tokens())
    gc.disable()
    try:
        serving = asyncio.create_task(response({**http_scope(), "asgi": {"spec_version": "2.3"}}, receive, send))
        await is_stuck.wait()
        assert generation.is_running
        has_left.set()
        await until(serving.done)
        assert generation.was_aborted
    finally:
        gc.enable()


@pytest.mark.usefixtures("patched")
async def test_a_whole_stream_is_sent_as_before() -> None:
    async def words() -> AsyncIterator[str]:
        yield "one "
        yield "two"

    sent: list[bytes] = []

    async def send(message) -> None:
        sent.append(message.get("body", b""))

    async def receive():
        await asyncio.Event().wait()

    await StreamingResponse(words())({**http_scope(), "asgi": {"spec_version": "2.3"}}, receive, send)
    assert b"".join(sent) == b"one two"
