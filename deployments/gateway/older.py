"""The older interfaces over HTTP: translated, then answered like any other request (`router/older.py`)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from catalog.errors import EmptyResponse, UpstreamError
from catalog.keys import Access
from deployments.gateway.exchange import EVENT_STREAM, Reply, ReplyAround
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.inference import Inference, read_json_body
from deployments.gateway.json_handler import JsonHandler
from deployments.gateway.models import Models
from router import older
from router.body import parse_object
from router.older import Body, Form

_MAX_EVENT_BYTES = 4 * 1024 * 1024


class WholeReply(ReplyAround):
    """Collects the reply of an endpoint, and sends the older form of it."""

    def __init__(self, inner: Reply, translate: Callable[[Body], Body]) -> None:
        super().__init__(inner)
        self._translate = translate
        self._body = b""
        self._status = 200

    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        self._status = status

    async def write(self, chunk: bytes) -> None:
        self._body += chunk

    async def end(self, last: bytes = b"") -> None:
        try:
            reply = json.loads(self._body + last)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise EmptyResponse("The engine answered with something else than a JSON object; try again.")
        await self._inner.whole(self._status, self._translate(reply))


class EventsReply(ReplyAround):
    """Passes a stream on, each of its events in the older form. An error stays as it is and ends the stream."""

    def __init__(self, inner: Reply, translate: Callable[[Body], Body | None]) -> None:
        super().__init__(inner)
        self._translate = translate
        self._rest = b""

    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        await self._inner.begin(status, EVENT_STREAM)

    async def write(self, chunk: bytes) -> None:
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        if len(self._rest) > _MAX_EVENT_BYTES:
            raise EmptyResponse("The engine sent an event without an end; try again.")
        translated = b"".join(map(self._event, events))
        if translated:
            await self._inner.write(translated)

    async def end(self, last: bytes = b"") -> None:
        await self.write(last + b"\n\n")
        await self._inner.end()

    def _event(self, event: bytes) -> bytes:
        if not event.startswith(b"data: ") or event == b"data: [DONE]":
            return b""
        try:
            translated = self._translate(json.loads(event[6:]))
        except ValueError:
            raise UpstreamError("The engine sent an event that is not JSON; try again.") from None
        return b"" if translated is None else b"data: " + json.dumps(translated).encode() + b"\n\n"


class Older:
    """Every older interface, as routes."""

    def __init__(self, endpoints: dict[str, Inference], models: Models) -> None:
        self._endpoints = endpoints
        self._models = models

    def routes(self) -> list[GuardedRoute]:
        answered: list[tuple[str, tuple[str, ...], Any]] = [
            ("/v1/infer", ("/v1/infer", "/infer"), self._form(older.INFER)),
            ("/v1/infer/stream", ("/v1/infer/stream", "/infer/stream"), self.infer_stream),
            ("/api/inference/chat", ("/api/inference/chat",), self._form(older.CHAT)),
            ("/embed", ("/embed",), self._form(older.WRAPPED_EMBED)),
            ("/chat", ("/chat",), self._form(older.WRAPPED_CHAT)),
            ("/rerank", ("/rerank",), self.rerank),
        ]
        return [
            *(
                GuardedRoute(path, _Asgi(app), methods=["POST"], access=Access.KEY, inference=label)
                for label, paths, app in answered
                for path in paths
            ),
            GuardedRoute("/api/services", JsonHandler(self.services), methods=["GET"], access=Access.KEY),
            GuardedRoute("/api/services/{id:path}/start", JsonHandler(self._models.start), methods=["POST"]),
            GuardedRoute("/api/services/{id:path}/stop", JsonHandler(self._models.stop), methods=["POST"]),
        ]

    def _form(self, form: Form) -> Callable[[Scope, Receive], Any]:
        async def answer(scope: Scope, receive: Receive) -> None:
            await self._answer(form, await self._read(form, scope, receive), scope, receive)

        return answer

    async def rerank(self, scope: Scope, receive: Receive) -> None:
        """The older form, or the standard one without its `/v1`: the body tells."""
        raw = await self._read(older.WRAPPED_RERANK, scope, receive)
        if older.is_wrapped(parse_object(raw)):
            await self._answer(older.WRAPPED_RERANK, raw, scope, receive)
            return
        endpoint = self._endpoints[older.WRAPPED_RERANK.endpoint]
        await endpoint.answer(raw, dict(scope["headers"]), scope["exchange"], scope["reply"], receive)

    async def infer_stream(self, scope: Scope, receive: Receive) -> None:
        body = older.infer_request(parse_object(await self._read(older.INFER, scope, receive)), stream=True)
        reply = EventsReply(scope["reply"], older.infer_event)
        await self._send(older.INFER, body, reply, scope, receive)

    async def services(self, request: Request) -> tuple[int, dict[str, Any]]:
        described = [self._models.describe(target) for target in self._models.permitted(request) if not target.adapter]
        return 200, {
            "services": [
                {
                    "id": each["id"],
                    "model": each["id"],
                    "status": each["state"],
                    "replicas": self._models.num_ready(each["id"]),
                }
                for each in described
            ]
        }

    async def _read(self, form: Form, scope: Scope, receive: Receive) -> bytes:
        return await read_json_body(dict(scope["headers"]), receive, self._endpoints[form.endpoint].max_body_bytes)

    async def _answer(self, form: Form, raw: bytes, scope: Scope, receive: Receive) -> None:
        exchange = scope["exchange"]

        def translate(reply: Body) -> Body:
            latency_ms = (time.perf_counter() - exchange.begun_s) * 1000
            return form.reply(reply, latency_ms, exchange.headers.get("x-raymux-cache") == "hit")

        await self._send(form, form.request(parse_object(raw)), WholeReply(scope["reply"], translate), scope, receive)

    async def _send(self, form: Form, body: Body, reply: Reply, scope: Scope, receive: Receive) -> None:
        endpoint = self._endpoints[form.endpoint]
        await endpoint.answer(json.dumps(body).encode(), dict(scope["headers"]), scope["exchange"], reply, receive)


class _Asgi:
    """A class, because Starlette takes a function for a handler of requests."""

    def __init__(self, answer: Callable[[Scope, Receive], Any]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive)
