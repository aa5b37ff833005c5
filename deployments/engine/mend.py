"""Mends what vLLM 0.32's server does that an OpenAI client would trip over in a stream.

An error in the middle of a stream is followed by `[DONE]`, as if all were well: the error goes out in raymux's shape,
and nothing follows it. (Errors before the first byte are mended by the gateway, which sees the status.) The stream of a
response that was cut ends with `response.completed`: it becomes `response.incomplete`, as OpenAI's reference has it.
"""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.errors import UpstreamError
from deployments.wire import REQUEST_ID_HEADER

_ERROR_EVENT = b'data: {"error"'
_COMPLETED = b"event: response.completed\ndata: "


class MendedApp:
    """vLLM's app with its streams mended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_failed = False

        async def mended(message: Message) -> None:
            nonlocal has_failed
            body = message.get("body", b"")
            if has_failed and body:
                message = {**message, "body": b""}
            elif body.startswith(_ERROR_EVENT):
                has_failed = True
                message = {**message, "body": stream_error(body, scope)}
            elif body.startswith(_COMPLETED):
                message = {**message, "body": completed_or_incomplete(body)}
            await send(message)

        await self._app(scope, receive, mended)


def stream_error(event: bytes, scope: Scope) -> bytes:
    """vLLM's error event in raymux's shape."""
    try:
        text = json.loads(event.removeprefix(b"data: "))["error"]["message"]
    except (ValueError, KeyError, TypeError):
        text = "The engine failed in the middle of the reply."
    request_id = dict(scope["headers"]).get(REQUEST_ID_HEADER, b"").decode("latin-1")
    body = UpstreamError(str(text)[:500]).body(request_id or None)
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def completed_or_incomplete(event: bytes) -> bytes:
    """vLLM's last event of a response, by the name that its status asks for."""
    try:
        data = json.loads(event.removeprefix(_COMPLETED))
        if data["response"]["status"] != "incomplete":
            return event
    except (ValueError, KeyError, TypeError):
        return event
    data["type"] = "response.incomplete"
    return b"event: response.incomplete\ndata: " + json.dumps(data).encode() + b"\n\n"
