"""The relay: one request to one replica, the reply's bytes to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from catalog.catalog import AdapterSpec
from catalog.errors import EmptyResponse, UpstreamError
from catalog.replicas import ReplicaReport
from deployments.gateway.exchange import EVENT_STREAM, Exchange, Reply
from deployments.gateway.replica_http import BrokenOff, Connection, NotConnected, ReplicaHttp
from deployments.gateway.upstream_errors import from_engine
from deployments.wire import (
    ADAPTER_HEADER,
    DRAINING,
    METRICS_PATH,
    ONGOING_HEADER,
    REQUEST_ID_HEADER,
    RETRY_HEADER,
    SECRET_HEADER,
    USAGE_HEADER,
    decode_usage,
    encode_adapter,
    strip_trailer,
)

# Request headers that mean something to an engine; nothing else of the client's reaches it.
_FORWARDED = (b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
MAX_ERROR_BYTES = 64 * 1024
METRICS_TIMEOUT_S = 2.0


class ReplicaUnavailable(Exception):
    """The replica did not answer the request, and nothing of a reply has been sent, so another one may."""


class ReplicaDraining(ReplicaUnavailable):
    """It said that it takes no more requests."""


class ReplicaGone(ReplicaUnavailable, OSError):
    """It is not there, or went away; `was_sent` when it may have worked on the request."""

    def __init__(self, *, was_sent: bool = False) -> None:
        super().__init__("replica gone")
        self.was_sent = was_sent


class Relay:
    """Relays requests to replicas over pooled connections."""

    def __init__(self, connect_timeout_s: float) -> None:
        self._http = ReplicaHttp(connect_timeout_s)
        self._num_ongoing = 0

    async def close(self) -> None:
        await self._http.close()

    async def send(
        self,
        replica: ReplicaReport,
        path: str,
        headers: Mapping[bytes, bytes],
        body: bytes,
        adapter: AdapterSpec | None,
        exchange: Exchange,
        reply: Reply,
        patience: asyncio.Timeout,
    ) -> None:
        """Relay one request.

        Raises ReplicaGone or ReplicaDraining before the first byte, and a RaymuxError when
        the engine refuses the request or breaks off. Leaving this coroutine closes the connection, which makes the
        engine abort the request. `patience` is how long the reply may take to begin; what follows takes as long as it
        takes.
        """
        self._num_ongoing += 1
        forwarded = _headers(replica, headers, adapter, exchange, self._num_ongoing)
        try:
            async with self._http.request(b"POST", replica.address, path, forwarded, body) as response:
                patience.reschedule(None)
                await _pass_on(response, exchange, reply)
        except NotConnected as error:
            raise ReplicaGone from error
        except BrokenOff as error:
            if exchange.first_byte_ms is None:
                raise ReplicaGone(was_sent=True) from error
            raise UpstreamError("The engine went away in the middle of its reply; try again.") from error
        finally:
            self._num_ongoing -= 1

    async def metrics(self, replica: ReplicaReport) -> str:
        """What the engine's own server tells at `/metrics`; empty where it has no such path. Raises ReplicaGone."""
        headers = {SECRET_HEADER: replica.secret.encode()}
        try:
            async with (
                asyncio.timeout(METRICS_TIMEOUT_S),
                self._http.request(b"GET", replica.address, METRICS_PATH, headers) as response,
            ):
                body = await _read(response)
                return body.decode(errors="replace") if response.status == 200 else ""
        except (OSError, TimeoutError) as error:
            raise ReplicaGone from error


async def _pass_on(response: Connection, exchange: Exchange, reply: Reply) -> None:
    if response.status >= 400:
        if (why := response.headers.get(RETRY_HEADER)) is not None:
            raise ReplicaDraining if why == DRAINING else ReplicaGone(was_sent=True)
        raise from_engine(response.status, await _read(response, MAX_ERROR_BYTES))
    if response.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
        await _stream(response, exchange, reply)
    else:
        await _whole(response, exchange, reply)


async def _stream(response: Connection, exchange: Exchange, reply: Reply) -> None:
    is_empty = True
    while chunk := await response.read():
        chunk, usage = strip_trailer(chunk)
        if usage is not None:
            exchange.usage = usage
        if chunk:
            if is_empty:
                is_empty = False
                await reply.begin(response.status, EVENT_STREAM)
            await reply.write(chunk)
    if is_empty:
        raise EmptyResponse("The engine ended its stream without an event; try again.")
    await reply.end()


async def _read(response: Connection, max_bytes: int | None = None) -> bytes:
    """The body, or what has come of it once that is `max_bytes`; no more than these."""
    pieces, num_bytes = [], 0
    while (max_bytes is None or num_bytes < max_bytes) and (piece := await response.read()):
        pieces.append(piece)
        num_bytes += len(piece)
    return b"".join(pieces)[:max_bytes]


async def _whole(response: Connection, exchange: Exchange, reply: Reply) -> None:
    body = await _read(response)
    if not body:
        raise EmptyResponse("The engine answered without content; try again.")
    usage = response.headers.get(USAGE_HEADER)
    if usage is not None:
        exchange.usage = decode_usage(usage)
    await reply.begin(response.status, response.headers.get(b"content-type", b"application/json"), len(body))
    await reply.end(body)


def _headers(
    replica: ReplicaReport,
    headers: Mapping[bytes, bytes],
    adapter: AdapterSpec | None,
    exchange: Exchange,
    num_ongoing: int = 1,
) -> dict[bytes, bytes]:
    forwarded = {name: headers[name] for name in _FORWARDED if name in headers}
    forwarded[b"content-type"] = b"application/json"
    forwarded[SECRET_HEADER] = replica.secret.encode()
    forwarded[REQUEST_ID_HEADER] = exchange.request_id.encode()
    forwarded[ONGOING_HEADER] = b"%d" % num_ongoing
    if exchange.span is not None:
        forwarded[b"traceparent"] = exchange.span.traceparent().encode()
    if adapter is not None:
        forwarded[ADAPTER_HEADER] = encode_adapter(adapter)
    return forwarded
