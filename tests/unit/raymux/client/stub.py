"""A stand-in for a server: answers by path, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpx2


class Bytes(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class Stub:
    """`on` maps `METHOD /path` (after `/v1`) to replies, given one after the other."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[httpx2.Headers] = []

    def on(self, what: str, *replies: Any) -> Stub:
        """Answer so; the last reply is given again and again."""
        self.answers[what] = list(replies)
        return self

    @property
    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=httpx2.MockTransport(self._answer))

    @property
    def async_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        what = f"{request.method} {request.url.raw_path.decode().removeprefix('/v1')}"
        self.asked.append((what, json.loads(request.content) if request.content else None))
        self.headers.append(request.headers)
        replies = self.answers.get(what) or [error(404, "not_found", "There is no such path.")]
        reply = replies[0] if len(replies) == 1 else replies.pop(0)
        if callable(reply):
            reply = reply()
        return reply if isinstance(reply, httpx2.Response) else httpx2.Response(200, json=reply)


def error(status: int, code: str, message: str, **headers: str) -> httpx2.Response:
    body = {"error": {"message": message, "type": "x", "param": None, "code": code, "request_id": "req-1"}}
    return httpx2.Response(status, json=body, headers=headers)


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }  # fmt: skip


def stream(*texts: str, before: Iterable[str] = ()) -> httpx2.Response:
    """A stream with these texts, and comments before it."""
    pieces = [f": {comment}\n\n".encode() for comment in before]
    for text in texts:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        pieces.append(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    pieces.append(b"data: [DONE]\n\n")
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Bytes(pieces))
