"""Merges a stream's events under load, so that one write carries several of them.

Each write of a stream costs work in the replica, the gateway, the front door and the client, and an engine makes an
event per token and stream. The more requests run, the longer an event may wait for the next one, which bounds what
writing costs per second. A stream's first event is never held back, and nothing inside an event changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Message, Send

# What one running request adds to the time between two writes of a stream: 2,500 writes a second, however many streams
# there are. Up to 12 streams of a token every 5 ms keep their own pace; with 64, five or so events share a write.
INTERVAL_PER_REQUEST_S = 0.0004
# 25 writes a second. Above it readers would see the text come in jerks.
MAX_INTERVAL_S = 0.04


def write_interval_s(num_running: int) -> float:
    """Least seconds between two writes of a stream while that many requests run; at most 0.04."""
    return min(MAX_INTERVAL_S, num_running * INTERVAL_PER_REQUEST_S)


class MergedSend:
    """ASGI `send` of one event stream's body. `close` it when the app has returned, however it did.

    `interval_s` is asked at every write for the least time until the next one. An event that comes later than that
    takes along those that waited; where none comes in as long again, a timer writes them.
    """

    def __init__(self, send: Send, interval_s: Callable[[], float]) -> None:
        self._send = send
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._next_write_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._late_write: asyncio.Task[None] | None = None

    async def __call__(self, message: Message) -> None:
        """Write the body now, or let it wait for others; the last one takes everything along."""
        if self._late_write is not None:
            # Keeps the order, and brings a slow reader's back-pressure and a broken connection to the app.
            await self._late_write
            self._late_write = None
        has_more = message.get("more_body", False)
        self._held.append(message.get("body", b""))
        if has_more and self._loop.time() < self._next_write_s:
            if self._timer is None:
                self._timer = self._loop.call_later(2 * self._interval_s(), self._on_time)
            return
        await self._write(has_more)

    def close(self) -> None:
        """Drop what is still held: the stream was broken off."""
        if self._timer is not None:
            self._timer.cancel()
        if self._late_write is not None:
            self._late_write.cancel()

    def _on_time(self) -> None:
        self._timer = None
        if self._held:
            self._late_write = self._loop.create_task(self._write(True))

    async def _write(self, has_more: bool) -> None:
        body = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held = []
        self._next_write_s = self._loop.time() + self._interval_s()
        await self._send({"type": "http.response.body", "body": body, "more_body": has_more})
