"""A client's HTTP/1.1 connection that times server-sent events and checks that a stream is whole."""

from __future__ import annotations

import asyncio
import re
import time
from array import array
from dataclasses import dataclass, field
from typing import cast

import httptools

END_OF_STREAM = b"data: [DONE]\n\n"
# A first event may carry the role alone, with empty content.
CONTENT = re.compile(rb'"content":\s*"[^"]')


@dataclass(slots=True)
class Timings:
    """Seconds, over all streams: to the first event with content, and between reads that brought events after it."""

    ttfts_s: array[float] = field(default_factory=lambda: array("d"))
    gaps_s: array[float] = field(default_factory=lambda: array("d"))
    num_events: int = 0
    num_bytes: int = 0

    def clear(self) -> None:
        """Begin again, for connections that stay open."""
        del self.ttfts_s[:], self.gaps_s[:]
        self.num_events = self.num_bytes = 0


class BadReply(Exception):
    """The reply is an error or not whole; the message is short and has no varying parts, so that it can be counted."""


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way.

    `num_events` are those of each reply, 0 for any number; None for a single body.
    """

    def __init__(self, timings: Timings, num_events: int | None) -> None:
        self._timings = timings
        self._expected_events = num_events
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[None] | None = None
        self._num_events = self._num_bytes = 0
        self._tail = b""
        self._is_first = True
        self._last_s = 0.0
        self.is_open = False

    async def request(self, raw: bytes) -> None:
        """Send a request and wait for the whole reply. Raises BadReply."""
        assert self._transport is not None
        self._num_events = self._num_bytes = 0
        self._tail = b""
        self._is_first = True
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        self._last_s = time.perf_counter()
        await self._done

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the base class.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._finish("the connection closed before the reply's end")

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(f"not HTTP: {type(error).__name__}")

    # What the parser calls.

    def on_body(self, body: bytes) -> None:
        now_s = time.perf_counter()
        self._num_bytes += len(body)
        if self._is_first:
            if self._expected_events is not None and not self._num_events and b"data:" not in body:
                # A comment while the model starts.
                return
            if self._expected_events is None or CONTENT.search(self._tail + body):
                self._is_first = False
                self._timings.ttfts_s.append(now_s - self._last_s)
                self._last_s = now_s
        else:
            self._timings.gaps_s.append(now_s - self._last_s)
            self._last_s = now_s
        # An event's end may lie across two pieces.
        self._num_events += body.count(b"\n\n") + (self._tail.endswith(b"\n") and body.startswith(b"\n"))
        self._tail = body[-16:] if len(body) >= 16 else (self._tail + body)[-16:]

    def on_message_complete(self) -> None:
        self._timings.num_events += self._num_events
        self._timings.num_bytes += self._num_bytes
        status = self._parser.get_status_code()
        # A parser reads one reply after another, but keeps the state of a `Connection: close`.
        self.is_open = self.is_open and self._parser.should_keep_alive()
        self._finish(self._fault(status))

    def _fault(self, status: int) -> str | None:
        if status != 200:
            return f"HTTP {status}"
        if self._expected_events is None:
            return None if self._num_bytes else "an empty body"
        if not self._tail.endswith(END_OF_STREAM):
            return "the stream did not end with [DONE]"
        if self._expected_events and self._num_events != self._expected_events:
            return f"{self._num_events} events instead of {self._expected_events}"
        return None

    def _finish(self, fault: str | None) -> None:
        if self._done is None or self._done.done():
            return
        if fault is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(BadReply(fault))
