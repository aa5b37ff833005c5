"""HTTP/1.1 to replicas: kept-alive connections with one request at a time, and no more of the protocol than they speak.

A library that speaks all of HTTP costs several times as much for each piece of a stream, and the gateway passes on
hundreds of thousands of them. Replicas are raymux's own: a reply has a length or comes in chunks, and that is all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import httptools

# Less than the replica's `timeout_keep_alive` (75 s), so that none closes as a request goes out.
MAX_IDLE_S = 60.0
# A connection with as much of a reply that nobody has taken is not read further.
MAX_UNREAD_BYTES = 256 * 1024


class NotConnected(OSError):
    """No connection could be made, so nothing of the request was sent."""


class BrokenOff(ConnectionError):
    """The connection ended before the reply did, or what came is not HTTP."""


class Connection(asyncio.Protocol):
    """One connection, and the reply that comes over it: first `head()`, then `read()` until it returns nothing.

    `status` and `headers` (lower-case names) are there from `head()` on.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._num_unread = 0
        self._is_paused = False
        self._has_head = False
        self._is_lost = False
        self.idle_since_s = 0.0
        self.is_complete = True
        self.status = 0
        self.headers: dict[bytes, bytes] = {}

    @property
    def is_reusable(self) -> bool:
        """Whether another request may go over it: the last reply is whole, and nothing has come after it."""
        return self.is_complete and not self._is_lost and not self._pieces

    def is_fresh(self, now_s: float) -> bool:
        """Whether it is reusable and has not been idle for so long that the replica may close it."""
        return self.is_reusable and now_s - self.idle_since_s < MAX_IDLE_S

    def send(self, request: bytes) -> None:
        """Send a request; to a connection that `is_reusable`."""
        assert self._transport is not None
        self._has_head = self.is_complete = False
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for the reply's status and headers. Raises BrokenOff."""
        while not self._has_head:
            await self._wait()

    async def read(self) -> bytes:
        """What has come of the body, as soon as there is something; b"" at its end. Raises BrokenOff."""
        while not self._pieces:
            if self.is_complete:
                return b""
            await self._wait()
        pieces, self._pieces, self._num_unread = self._pieces, [], 0
        if self._is_paused:
            self._is_paused = False
            assert self._transport is not None
            self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close it at once; the replica stops what it does for its request."""
        self._is_lost = True
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._is_lost:
            raise BrokenOff("the reply ended early")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the base class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.is_complete:
            # The parser passes it on, as an error of its own.
            raise ValueError("a reply that nobody has asked for")
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._num_unread += len(body)
        if self._num_unread > MAX_UNREAD_BYTES and not self._is_paused:
            assert self._transport is not None
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self.is_complete = True
        if not self._parser.should_keep_alive():
            self.close()


class ReplicaHttp:
    """Connections to replicas, by their addresses (`host:port`)."""

    def __init__(self, connect_timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._idle: dict[str, list[Connection]] = {}
        self._tidying: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def request(
        self, method: bytes, address: str, path: str, headers: Mapping[bytes, bytes], body: bytes = b""
    ) -> AsyncIterator[Connection]:
        """Send a request, and give the connection with the head of its reply.

        A block that ends before the reply does, however it ends, closes the connection. Raises NotConnected or
        BrokenOff.
        """
        message = _message(method, address, path, headers, body)
        connection = self._take(address) or await self._connect(address)
        try:
            connection.send(message)
            await connection.head()
            yield connection
        finally:
            self._give_back(address, connection)

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        for connection in [each for idle in self._idle.values() for each in idle]:
            connection.close()
        self._idle = {}
        if self._tidying is not None:
            self._tidying.cancel()

    def _take(self, address: str) -> Connection | None:
        idle, now_s = self._idle.get(address, []), time.monotonic()
        while idle:
            connection = idle.pop()
            if connection.is_fresh(now_s):
                return connection
            connection.close()
        return None

    def _give_back(self, address: str, connection: Connection) -> None:
        if not connection.is_reusable:
            connection.close()
            return
        connection.idle_since_s = time.monotonic()
        self._idle.setdefault(address, []).append(connection)
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(MAX_IDLE_S / 2, self._tidy)

    def _tidy(self) -> None:
        """Close what has been idle for long, also connections to replicas that have left."""
        now_s = time.monotonic()
        for address, idle in list(self._idle.items()):
            kept = []
            for connection in idle:
                kept.append(connection) if connection.is_fresh(now_s) else connection.close()
            self._idle[address] = kept
            if not kept:
                del self._idle[address]
        self._tidying = asyncio.get_running_loop().call_later(MAX_IDLE_S / 2, self._tidy) if self._idle else None

    async def _connect(self, address: str) -> Connection:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, host.strip("[]"), int(port)
                )
        except (OSError, TimeoutError) as error:
            raise NotConnected("no connection to the replica") from error
        return connection


def _message(method: bytes, address: str, path: str, headers: Mapping[bytes, bytes], body: bytes) -> bytes:
    """A request as it goes over the wire. Raises ValueError for a header that would be two."""
    lines = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, path.encode(), address.encode())]
    for name, value in headers.items():
        if b"\n" in value or b"\r" in value:
            raise ValueError(f"a line break in the header {name.decode()}")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join([*lines, b"content-length: %d\r\n\r\n" % len(body), body])
