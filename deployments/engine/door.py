"""The door of a replica: an ASGI layer in front of the engine's own app.

It lets in only the gateway, refuses work while the replica drains, makes sure an adapter is loaded before its request
runs, counts what runs, and tells the gateway what each request used.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.catalog import AdapterSpec
from catalog.errors import RaymuxError, UpstreamError
from deployments.engine.base import TokenCount, current_tokens
from deployments.engine.merge import MergedSend, write_interval_s
from deployments.engine.read_ahead import ClientLeft
from deployments.wire import (
    ADAPTER_HEADER,
    DRAINING,
    ENGINE_DIED,
    METRICS_PATH,
    ONGOING_HEADER,
    RETRY_HEADER,
    SECRET_HEADER,
    USAGE_HEADER,
    Usage,
    decode_adapter,
    encode_usage,
    usage_trailer,
)


class AdapterLeases(Protocol):
    """Gives an adapter for the time of one request."""

    def lease(self, spec: AdapterSpec) -> AbstractAsyncContextManager[None]: ...


class Turns(Protocol):
    """Has the engine awake for the time of one request, and gives what its app is to receive from."""

    def turn(self, receive: Receive) -> AbstractAsyncContextManager[Receive]: ...


class AlwaysAwake:
    """The turns of an engine that never sleeps."""

    def turn(self, receive: Receive) -> AbstractAsyncContextManager[Receive]:
        return nullcontext(receive)


class Tally:
    """Requests inside the replica, and since when there have been none (monotonic seconds).

    `used_at_s` is when a request last came or went, seconds since the epoch; 0 for never. `ongoing_in_gateway` counts
    what a gateway had under way, here and elsewhere, when it sent its last request here.
    """

    def __init__(self) -> None:
        self.running = 0
        self.ongoing_in_gateway = 0
        self.used_at_s = 0.0
        self._counts: dict[int, TokenCount] = {}
        self._ended_tokens = 0
        self.restart_idle_time()
        self._empty = asyncio.Event()
        self._empty.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one request for as long as the block runs."""
        self.running += 1
        self.used_at_s = time.time()
        self._empty.clear()
        try:
            yield
        finally:
            self.running -= 1
            self.used_at_s = time.time()
            if self.running == 0:
                self.restart_idle_time()
                self._empty.set()

    @contextmanager
    def counting(self, count: TokenCount) -> Iterator[None]:
        """Have `completion_tokens` follow the count of a request while the block runs, and keep what it came to."""
        self._counts[id(count)] = count
        try:
            yield
        finally:
            del self._counts[id(count)]
            self._ended_tokens += count.completion_tokens

    @property
    def completion_tokens(self) -> int:
        """Those made so far, of requests that have ended and of those that run."""
        return self._ended_tokens + sum(count.completion_tokens for count in self._counts.values())

    def restart_idle_time(self) -> None:
        """Count the time without a request from now on."""
        self.idle_since_s = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds without a request; 0 while one runs."""
        return 0.0 if self.running else time.monotonic() - self.idle_since_s

    @property
    def write_interval_s(self) -> float:
        """Least seconds between two writes of a stream: the busier of replica and gateway needs the rest."""
        return write_interval_s(max(self.running, self.ongoing_in_gateway))

    async def wait_empty(self) -> None:
        """Return once no request runs."""
        await self._empty.wait()


class Door:
    """ASGI app that guards `app`; `is_alive` tells whether the engine behind it is."""

    def __init__(
        self,
        app: ASGIApp,
        secret: str,
        adapters: AdapterLeases | None,
        tally: Tally,
        turns: Turns | None = None,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._turns = turns or AlwaysAwake()
        self._app = app
        self._secret = secret.encode()
        self._adapters = adapters
        self._tally = tally
        self._is_alive = is_alive
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"a replica serves HTTP only, not {scope['type']}")
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(SECRET_HEADER, b""), self._secret):
            await _refuse(send, 403, b"replicas answer their gateway only")
        elif scope["path"] == METRICS_PATH:
            await self._app(scope, receive, send)
        elif self.draining or not self._is_alive():
            await _refuse(send, 503, DRAINING, retry=True)
        else:
            self._tally.ongoing_in_gateway = int(headers.get(ONGOING_HEADER, b"0"))
            with self._tally.one():
                await self._take_turn(scope, receive, send, headers.get(ADAPTER_HEADER))

    async def _take_turn(self, scope: Scope, receive: Receive, send: Send, adapter: bytes | None) -> None:
        turn = self._turns.turn(receive)
        try:
            receive = await turn.__aenter__()
        except ClientLeft:
            return
        except RaymuxError as error:
            await _answer(send, error.status, error.body())
            return
        try:
            await self._admit(scope, receive, send, adapter)
        finally:
            await turn.__aexit__(None, None, None)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, adapter: bytes | None) -> None:
        if adapter is None:
            await self._serve(scope, receive, send)
            return
        try:
            lease = self._leases().lease(decode_adapter(adapter))
            await lease.__aenter__()
        except Exception as error:
            if not self._is_alive():
                await _refuse(send, 503, ENGINE_DIED, retry=True)
                return
            if not isinstance(error, RaymuxError):
                raise
            await _answer(send, error.status, error.body())
            return
        try:
            await self._serve(scope, receive, send)
        finally:
            await lease.__aexit__(None, None, None)

    def _leases(self) -> AdapterLeases:
        if self._adapters is None:
            raise UpstreamError("The model serves no adapters.")
        return self._adapters

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted = CountedSend(send, self._tally, self._is_alive)
        token = current_tokens.set(counted.tokens)
        try:
            with self._tally.counting(counted.tokens):
                await self._app(scope, receive, counted)
        finally:
            current_tokens.reset(token)
            counted.close()


class CountedSend:
    """Passes a reply on, and adds what it used: as a header to a single body, as a trailer to an event stream.

    What an engine says that has died before the first byte is not passed on: another one may answer.
    """

    def __init__(self, send: Send, tally: Tally, is_alive: Callable[[], bool] = lambda: True) -> None:
        self._send = send
        self._tally = tally
        self._is_alive = is_alive
        self._is_void = False
        self._events: MergedSend | None = None
        self.tokens = TokenCount()
        self._begun_s = time.perf_counter()
        self._first_ms = 0.0
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._is_void:
            return
        if message["type"] == "http.response.body":
            if self._start is not None and not self._is_alive():
                self._is_void = True
                await _refuse(self._send, 503, ENGINE_DIED, retry=True)
                return
            if self._start is not None:
                await self._begin(message)
            if self._events is not None:
                if not message.get("more_body", False):
                    message = {**message, "body": message.get("body", b"") + usage_trailer(self._usage())}
                await self._events(message)
                return
        await self._send(message)

    def close(self) -> None:
        """To be called when the app has returned."""
        if self._events is not None:
            self._events.close()

    async def _begin(self, body: Message) -> None:
        start, self._start = self._start, None
        assert start is not None
        self._first_ms = (time.perf_counter() - self._begun_s) * 1000
        if not body.get("more_body", False):
            start = {**start, "headers": [*start["headers"], (USAGE_HEADER, encode_usage(self._usage()))]}
        elif dict(start["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
            self._events = MergedSend(self._send, lambda: self._tally.write_interval_s)
        await self._send(start)

    def _usage(self) -> Usage:
        total_ms = (time.perf_counter() - self._begun_s) * 1000
        tokens = self.tokens
        return Usage(tokens.prompt_tokens, tokens.completion_tokens, self._first_ms, total_ms, tokens.cached_tokens)


async def _refuse(send: Send, status: int, reason: bytes, *, retry: bool = False) -> None:
    headers = [(RETRY_HEADER, reason)] if retry else []
    await _answer(send, status, UpstreamError(reason.decode()).body(), headers)


async def _answer(send: Send, status: int, body: dict, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    content = json.dumps(body).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *(headers or [])]})
    await send({"type": "http.response.body", "body": content})
