"""The official clients on the shared server. Whatever a client receives is validated against the schemas on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anthropic
import httpx2
import openai
import pytest

from tests.conformance.openai_schema import validate_body, validate_event
from tests.server import RunningServer

# raymux without keys takes any; the clients insist on one.
KEY = "unused"
TIMEOUT_S = 120


class ReplyCheck:
    """Checks a reply as its bytes pass: each event of a stream, or the whole of another reply."""

    def __init__(self, path: str, status: int, content_type: str) -> None:
        self._path = path
        self._status = status
        self._is_stream = content_type.startswith("text/event-stream")
        self._pending = b""

    def take(self, chunk: bytes) -> None:
        self._pending += chunk
        if self._is_stream:
            *events, self._pending = self._pending.split(b"\n\n")
            for event in events:
                validate_event(self._path, event)

    def end(self) -> None:
        if self._is_stream:
            assert not self._pending, "a stream ends with a whole event"
        else:
            validate_body(self._path, self._status, self._pending)


class _CheckedStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream, check: ReplyCheck) -> None:
        self._stream = stream
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._check.take(chunk)
            yield chunk
        self._check.end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._check.take(chunk)
            yield chunk
        self._check.end()

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _checked(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    check = ReplyCheck(request.url.path, response.status_code, response.headers.get("content-type", ""))
    response.stream = _CheckedStream(response.stream, check)
    return response


class CheckedTransport(httpx2.HTTPTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return _checked(request, super().handle_request(request))


class AsyncCheckedTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return _checked(request, await super().handle_async_request(request))


@pytest.fixture(scope="session")
def client(engine_server: RunningServer) -> Iterator[openai.OpenAI]:
    http_client = httpx2.Client(transport=CheckedTransport(), timeout=TIMEOUT_S)
    with openai.OpenAI(
        base_url=f"{engine_server.url}/v1", api_key=KEY, max_retries=0, http_client=http_client
    ) as opened:
        yield opened


@pytest.fixture
async def async_client(engine_server: RunningServer) -> AsyncIterator[openai.AsyncOpenAI]:
    http_client = httpx2.AsyncClient(transport=AsyncCheckedTransport(), timeout=TIMEOUT_S)
    async with openai.AsyncOpenAI(
        base_url=f"{engine_server.url}/v1", api_key=KEY, max_retries=0, http_client=http_client
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def anthropic_client(engine_server: RunningServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=engine_server.url, api_key=KEY, max_retries=0, timeout=TIMEOUT_S) as opened:
        yield opened


@pytest.fixture
async def async_anthropic_client(engine_server: RunningServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=engine_server.url, api_key=KEY, max_retries=0, timeout=TIMEOUT_S
    ) as opened:
        yield opened
