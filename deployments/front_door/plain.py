"""Mends Serve's Python proxy where that is the front door, as far as a program may: haproxy does the same for HAProxy.

Serve 2.60 asks `middlewares` for them, because RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it:
    any X-Request-Id is echoed, and one that is not UTF-8 is a 500   -> only a harmless one passes
    a gateway that dies before it answers is a 500 in plain text     -> raymux's error shape and the true status
    so is one that cannot be reached yet                             -> the same
    a stream whose gateway dies ends in silence                      -> an error event
"""

from __future__ import annotations

import json

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.errors import GatewayNotReady, RaymuxError, UpstreamError
from deployments.request_id import HEADER, request_id


def middlewares() -> list[Middleware]:
    """What stands in front of the proxy."""
    return [Middleware(PlainFrontDoor)]


class PlainFrontDoor:
    """ASGI middleware around Serve's proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        id = request_id(scope)
        kept = [(name, value) for name, value in scope["headers"] if name != HEADER]
        reply = _Reply(send, id)
        await self._app({**scope, "headers": [*kept, (HEADER, id.encode())]}, receive, reply.take)
        # The proxy says nothing where the call to its gateway fails.
        if not reply.has_begun:
            await reply.fail(UpstreamError("The gateway went away before it answered; try again."))
        elif reply.is_cut:
            await reply.fail(UpstreamError("The gateway went away while it answered; try again."))


class _Reply:
    """What goes to the client. The proxy's own refusals, which alone are plain text, are said in raymux's way."""

    def __init__(self, send: Send, id: str) -> None:
        self._send = send
        self._id = id
        self._is_replaced = False
        self._is_stream = False
        self._has_ended = False
        self.has_begun = False

    @property
    def is_cut(self) -> bool:
        """Whether a stream has begun and not come to its end."""
        return self._is_stream and not self._has_ended

    async def take(self, message: Message) -> None:
        """Pass on what the proxy sends."""
        if message["type"] == "http.response.start" and message["status"] == 503 and _is(message, b"text/plain"):
            await self.fail(GatewayNotReady("No gateway is ready; try again in a moment.", retry_after_s=1))
            self._is_replaced = True
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            self.has_begun, self._is_stream = True, _is(message, b"text/event-stream")
        else:
            self._has_ended = not message.get("more_body", False)
        await self._send(message)

    async def fail(self, error: RaymuxError) -> None:
        """Answer with the error, or end a stream with it."""
        body = json.dumps(error.body(self._id)).encode()
        if self._is_stream:
            await self._send({"type": "http.response.body", "body": b"data: " + body + b"\n\n"})
            return
        self.has_begun = True
        headers = {"content-type": "application/json", "content-length": str(len(body)), "x-request-id": self._id}
        pairs = [(name.encode(), value.encode()) for name, value in (headers | error.headers()).items()]
        await self._send({"type": "http.response.start", "status": error.status, "headers": pairs})
        await self._send({"type": "http.response.body", "body": body})


def _is(message: Message, content_type: bytes) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(content_type) for name, value in message["headers"])
