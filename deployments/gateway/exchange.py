"""One request and its reply, as the gateway sees them: what is known so far, and what may still be sent."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Send

from catalog.errors import RaymuxError
from catalog.keys import ANYBODY, Caller
from deployments.wire import Usage

if TYPE_CHECKING:
    from deployments.gateway.tracing import Span

EVENT_STREAM = b"text/event-stream; charset=utf-8"


@dataclass(slots=True)
class Exchange:
    """Facts of one request, gathered on its way; the access log writes them down.

    `endpoint` is the path of an inference endpoint, `address` where the client connects from. `headers` are further
    ones of the reply, by their lower-case names. Where a replica was chosen among several, `expected_ms` is how long it
    was to take from then on to the first byte, and `held_ratio` the share of the prompt that it was taken to hold.
    """

    request_id: str
    method: str
    path: str
    begun_s: float = field(default_factory=time.perf_counter)
    caller: Caller = ANYBODY
    address: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    status: int = 0
    model: str | None = None
    variant: str | None = None
    shape: str | None = None
    choice: str | None = None
    replica: str | None = None
    num_attempts: int = 0
    queued_s: float | None = None
    cold_start_s: float | None = None
    first_byte_ms: float | None = None
    expected_ms: float | None = None
    held_ratio: float | None = None
    usage: Usage | None = None
    outcome: str = "completed"
    error_code: str | None = None
    span: Span | None = None

    def note_first_byte(self) -> None:
        """The first byte of the reply is there; later calls change nothing."""
        if self.first_byte_ms is None:
            self.first_byte_ms = (time.perf_counter() - self.begun_s) * 1000

    def take_place_of(self, other: Exchange) -> None:
        """Note where another request's answer came from, which this one gets too."""
        self.model, self.variant, self.shape, self.choice = other.model, other.variant, other.shape, other.choice
        self.replica, self.num_attempts, self.cold_start_s = other.replica, other.num_attempts, other.cold_start_s


class ClientLeft(Exception):
    """The client has closed its connection, so nobody is there to be answered."""


class Reply(ABC):
    """Where the answer to an exchange goes: its head once, then its body."""

    exchange: Exchange

    @property
    @abstractmethod
    def has_begun(self) -> bool:
        """Whether its head, or a comment before it, is on its way to the client."""

    @abstractmethod
    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        """Send the head, unless comments have begun the stream already."""

    @abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Send a piece of the body."""

    @abstractmethod
    async def end(self, last: bytes = b"") -> None:
        """Send the last piece of the body."""

    @abstractmethod
    async def comment(self, text: str) -> None:
        """Send an SSE comment, which clients skip; begins the stream if need be."""

    async def whole(self, status: int, body: Any, **extra: str) -> None:
        """Send a JSON object, or the bytes of one, as the whole reply."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.begin(status, b"application/json", len(content), **extra)
        await self.end(content)


class HttpReply(Reply):
    """The reply that an exchange's client gets.

    A stream may have begun with comments while its model started; then a head that comes later is dropped, and an
    error goes out as an event after which the stream ends without `[DONE]`.
    """

    def __init__(self, send: Send, exchange: Exchange, *, adds_request_id: bool = True) -> None:
        self._send_message = send
        self._adds_request_id = adds_request_id
        self.exchange = exchange
        self._has_begun = False
        self._is_stream = False
        self._has_ended = False

    @property
    def has_begun(self) -> bool:
        return self._has_begun

    async def _send(self, message: Message) -> None:
        try:
            await self._send_message(message)
        except OSError as error:
            # What ASGI has a server raise when the client is gone.
            raise ClientLeft from error

    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        self._is_stream = content_type.startswith(b"text/event-stream")
        exchange = self.exchange
        exchange.status = status
        headers = [(b"content-type", content_type)]
        if self._adds_request_id:
            headers.append((b"x-request-id", exchange.request_id.encode("latin-1")))
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        if self._is_stream:
            # Proxies on the way must not hold events back.
            headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        if exchange.model is not None:
            headers.append((b"x-raymux-model", exchange.model.encode("latin-1")))
        if exchange.shape is not None:
            # A structured field (RFC 9651): the shape, and why it was chosen.
            reason = f";reason={exchange.choice}" if exchange.choice else ""
            headers.append((b"x-raymux-gpu", f"{exchange.shape}{reason}".encode("latin-1")))
        if exchange.cold_start_s is not None:
            headers.append((b"x-raymux-cold-start-s", f"{exchange.cold_start_s:.2f}".encode()))
        headers += [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in (*exchange.headers.items(), *extra.items())
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes) -> None:
        self.exchange.note_first_byte()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, last: bytes = b"") -> None:
        self._has_ended = True
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def comment(self, text: str) -> None:
        await self.begin(200, EVENT_STREAM)
        await self._send({"type": "http.response.body", "body": f": {text}\n\n".encode(), "more_body": True})

    async def fail(self, error: RaymuxError) -> None:
        """Send an error: as a reply of its own, or as the last event of a stream that has begun."""
        exchange = self.exchange
        exchange.outcome = "rejected" if error.status < 500 else "failed"
        exchange.error_code = error.code
        body = error.body(exchange.request_id)
        if not self._has_begun:
            extra = {name.replace("-", "_"): value for name, value in error.headers().items()}
            await self.whole(error.status, body, **extra)
        elif self._is_stream and not self._has_ended:
            # Anthropic's clients heed an event's name, OpenAI's its data.
            name = b"event: error\n" if exchange.endpoint == "/v1/messages" else b""
            await self.end(name + b"data: " + json.dumps(body).encode() + b"\n\n")
        else:
            # A body of known length has begun: closing the connection short of it is the only honest sign.
            raise error


class ReplyAround(Reply):
    """Passes everything on to the reply within."""

    def __init__(self, inner: Reply) -> None:
        self.exchange = inner.exchange
        self._inner = inner

    @property
    def has_begun(self) -> bool:
        return self._inner.has_begun

    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        await self._inner.begin(status, content_type, length, **extra)

    async def write(self, chunk: bytes) -> None:
        await self._inner.write(chunk)

    async def end(self, last: bytes = b"") -> None:
        await self._inner.end(last)

    async def comment(self, text: str) -> None:
        await self._inner.comment(text)
