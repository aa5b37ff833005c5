"""One request to an outside provider by HTTP, and the reply's bytes to the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from yarl import URL

from catalog.errors import DeadlineExceeded, EmptyResponse, UpstreamError
from catalog.providers import ProviderKind
from deployments.gateway.exchange import EVENT_STREAM, Exchange
from deployments.gateway.provider_errors import from_error_in_reply, from_status, retry_after_of
from deployments.gateway.providers import Call
from deployments.wire import Usage
from router.anthropic.responses import Tokens
from router.replies import ErrorInReply, StreamReply, stream_reply, whole_reply
from router.sse import EventReader
from router.upstream import Form

MAX_ERROR_BYTES = 64 * 1024
MAX_REPLY_BYTES = 64 * 1024 * 1024
# The last event of a `responses` stream repeats the whole answer.
MAX_EVENT_BYTES = 8 * 1024 * 1024
FINISH_S = 0.1
ANTHROPIC_VERSION = "2023-06-01"

# Request headers of the client's that go out, by kind, where its request is not translated. Nothing else does.
_FORWARDED = {
    ProviderKind.OPENAI: (b"openai-beta",),
    ProviderKind.ANTHROPIC: (b"anthropic-version", b"anthropic-beta"),
}


class ProviderClient:
    """Connections to providers, pooled by host; URLs come from the configuration only. Made in an event loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": "raymux", "accept-encoding": "identity"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def attempt(self, call: Call) -> None:
        """Send the request once. Raises a ServiceError where the provider is to blame, and Refusal."""
        provider, exchange = call.provider, call.job.exchange
        exchange.num_attempts += 1
        exchange.replica = provider.name
        # Of a model that this one may stand in for.
        exchange.variant = exchange.shape = exchange.choice = None
        timeouts = aiohttp.ClientTimeout(total=None, sock_connect=provider.connect_timeout_s)
        try:
            async with asyncio.timeout(provider.first_byte_timeout_s) as patience:
                async with self._session.post(
                    URL(provider.base_url + call.plan.path),
                    data=call.out.body,
                    headers=_headers(call),
                    allow_redirects=False,
                    timeout=timeouts,
                ) as response:
                    try:
                        await _pass_on(response, call, patience)
                    except BaseException:
                        # Not to the pool: the rest of the reply is still to come.
                        response.close()
                        raise
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamError(f"{provider.name} could not be reached; try again.") from None
        except TimeoutError:
            if exchange.first_byte_ms is None:
                raise DeadlineExceeded(f"{provider.name} has not begun to answer in time; try again.") from None
            raise UpstreamError(f"{provider.name} fell silent in the middle of its answer; try again.") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
            if exchange.first_byte_ms is None:
                raise UpstreamError(f"{provider.name} could not be reached, or broke off; try again.") from None
            raise UpstreamError(f"{provider.name} broke off in the middle of its answer; try again.") from None


async def _pass_on(response: aiohttp.ClientResponse, call: Call, patience: asyncio.Timeout) -> None:
    name, is_stream = call.provider.name, response.content_type == "text/event-stream"
    if response.status >= 300:
        body = await _read(response.content, MAX_ERROR_BYTES)
        wait_s = retry_after_of(response.headers.get("retry-after"), time.time())
        raise from_status(name, response.status, body, wait_s, call.key.get_secret_value())
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise UpstreamError(f"{name} answered in an encoding that it was not asked for.")
    try:
        if is_stream and call.out.is_stream:
            await _stream(response, call, patience)
        elif response.content_type == "application/json" or response.content_type.endswith("+json"):
            await _whole(response, call, patience)
        else:
            raise UpstreamError(f"{name} answered with something else than JSON or a stream of events; try again.")
    except ErrorInReply as found:
        raise from_error_in_reply(name, found.error, call.key.get_secret_value()) from None
    except ValueError:
        raise UpstreamError(f"{name} answered with something that is not of its API; try again.") from None


async def _stream(response: aiohttp.ClientResponse, call: Call, patience: asyncio.Timeout) -> None:
    """Pass the events on. Raises ValueError and what `StreamReply.take` raises."""
    reply, exchange = call.job.reply, call.job.exchange
    reader, events = EventReader(MAX_EVENT_BYTES), stream_reply(call.plan, call.out, int(time.time()))
    try:
        async for chunk in response.content.iter_any():
            # A client that reads slowly is not the provider's silence.
            patience.reschedule(None)
            await _write_events(reader, chunk, events, call)
            if events.is_over:
                break
            loop_s = asyncio.get_running_loop().time()
            patience.reschedule(loop_s + call.provider.idle_timeout_s)
    finally:
        _note_usage(exchange, events.tokens)
    if not events.is_over:
        if exchange.first_byte_ms is None:
            raise EmptyResponse(f"{call.provider.name} ended its answer before it began; try again.")
        raise UpstreamError(f"{call.provider.name} broke off in the middle of its answer; try again.")
    patience.reschedule(None)
    # Before the reply's own end, after which a server says that the client is gone.
    await _finish(response.content)
    await reply.end()


async def _finish(content: aiohttp.StreamReader) -> None:
    """Read what follows the last event, the end of the body, so that the connection may be used again."""
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(FINISH_S):
            while await content.readany():
                pass


async def _write_events(reader: EventReader, chunk: bytes, events: StreamReply, call: Call) -> None:
    """What a chunk completes, in one write. An event that is an error comes after those before it."""
    sent: list[bytes] = []
    try:
        for event in reader.feed(chunk):
            sent.append(events.take(event))
            if events.is_over:
                break
    finally:
        if whole := b"".join(sent):
            await call.job.reply.begin(200, EVENT_STREAM)
            await call.job.reply.write(whole)


async def _whole(response: aiohttp.ClientResponse, call: Call, patience: asyncio.Timeout) -> None:
    """Pass a reply on that is one JSON object."""
    raw = bytearray()
    async for chunk in response.content.iter_any():
        patience.reschedule(asyncio.get_running_loop().time() + call.provider.idle_timeout_s)
        raw += chunk
        if len(raw) > MAX_REPLY_BYTES:
            raise ValueError("the reply is too long")
    patience.reschedule(None)
    if not raw:
        raise EmptyResponse(f"{call.provider.name} answered without content; try again.")
    body, tokens = whole_reply(bytes(raw), call.plan, call.out, int(time.time()))
    if call.out.is_stream:
        raise ValueError("a stream was asked for")
    _note_usage(call.job.exchange, tokens)
    await call.job.reply.begin(200, b"application/json", len(body))
    await call.job.reply.end(body)


async def _read(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    body = b""
    while len(body) < max_bytes and (chunk := await content.read(max_bytes - len(body))):
        body += chunk
    return body


def _note_usage(exchange: Exchange, tokens: Tokens | None) -> None:
    if tokens is not None:
        total_ms = (time.perf_counter() - exchange.begun_s) * 1000
        exchange.usage = Usage(tokens.prompt, tokens.completion, exchange.first_byte_ms or total_ms, total_ms)


def _headers(call: Call) -> dict[str, str]:
    kind, given, key = call.provider.kind, call.job.headers, call.key.get_secret_value()
    headers = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
    if kind is ProviderKind.ANTHROPIC:
        headers |= {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}
    else:
        headers["authorization"] = f"Bearer {key}"
    if call.plan.form is Form.SAME:
        headers |= _allowed(given, _FORWARDED[kind])
    return headers


def _allowed(given: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> dict[str, str]:
    return {name.decode(): given[name].decode("latin-1") for name in names if name in given}
