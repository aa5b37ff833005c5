"""The relay: one request to one replica, the reply's bytes to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

from catalog.catalog import AdapterSpec
from catalog.errors import EmptyResponse, UpstreamError
from catalog.replicas import ReplicaReport
from deployments.gateway.exchange import EVENT_STREAM, Exchange, Reply
from deployments.gateway.upstream_errors import from_engine
from deployments.wire import (
    ADAPTER_HEADER,
    DRAINING,
    METRICS_PATH,
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
    """Pooled connections to replicas."""

    def __init__(self, connect_timeout_s: float) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, use_dns_cache=False),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("user-agent", "accept-encoding"),
        )

    async def close(self) -> None:
        await self._session.close()

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
        url = URL(f"http://{replica.address}{path}", encoded=True)
        try:
            response = await self._session.post(
                url, data=body, headers=_headers(replica, headers, adapter, exchange), allow_redirects=False
            )
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            was_sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            raise ReplicaGone(was_sent=was_sent) from error
        patience.reschedule(None)
        try:
            await self._pass_on(response, exchange, reply)
        except (aiohttp.ClientError, asyncio.IncompleteReadError) as error:
            if exchange.first_byte_ms is None:
                raise ReplicaGone(was_sent=True) from error
            raise UpstreamError("The engine went away in the middle of its reply; try again.") from error
        finally:
            # Returns the connection to the pool after a whole reply, and closes it after a part of one.
            response.release() if response.content.at_eof() else response.close()

    async def metrics(self, replica: ReplicaReport) -> str:
        """What the engine's own server tells at `/metrics`; empty where it has no such path. Raises ReplicaGone."""
        url = URL(f"http://{replica.address}{METRICS_PATH}", encoded=True)
        headers = {SECRET_HEADER.decode(): replica.secret}
        timeout = aiohttp.ClientTimeout(total=METRICS_TIMEOUT_S)
        try:
            async with self._session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                return await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ReplicaGone from error

    async def _pass_on(self, response: aiohttp.ClientResponse, exchange: Exchange, reply: Reply) -> None:
        if response.status >= 400:
            if (why := response.headers.get(RETRY_HEADER.decode())) is not None:
                raise ReplicaDraining if why == DRAINING.decode() else ReplicaGone(was_sent=True)
            raise from_engine(response.status, await _read_error(response.content))
        if response.content_type == "text/event-stream":
            await _stream(response, exchange, reply)
        else:
            await _whole(response, exchange, reply)


async def _stream(response: aiohttp.ClientResponse, exchange: Exchange, reply: Reply) -> None:
    is_empty = True
    async for chunk in response.content.iter_any():
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


async def _read_error(content: aiohttp.StreamReader) -> bytes:
    """The body of an error, at most 64 KiB of it."""
    body = b""
    while len(body) < MAX_ERROR_BYTES and (chunk := await content.read(MAX_ERROR_BYTES - len(body))):
        body += chunk
    return body


async def _whole(response: aiohttp.ClientResponse, exchange: Exchange, reply: Reply) -> None:
    body = await response.content.read()
    if not body:
        raise EmptyResponse("The engine answered without content; try again.")
    usage = response.headers.get(USAGE_HEADER.decode())
    if usage is not None:
        exchange.usage = decode_usage(usage.encode())
    await reply.begin(response.status, response.headers.get("content-type", "application/json").encode(), len(body))
    await reply.end(body)


def _headers(
    replica: ReplicaReport, headers: Mapping[bytes, bytes], adapter: AdapterSpec | None, exchange: Exchange
) -> dict[str, str]:
    forwarded = {name.decode(): headers[name].decode("latin-1") for name in _FORWARDED if name in headers}
    forwarded["content-type"] = "application/json"
    forwarded[SECRET_HEADER.decode()] = replica.secret
    forwarded[REQUEST_ID_HEADER.decode()] = exchange.request_id
    if exchange.span is not None:
        forwarded["traceparent"] = exchange.span.traceparent()
    if adapter is not None:
        forwarded[ADAPTER_HEADER.decode()] = encode_adapter(adapter).decode()
    return forwarded
