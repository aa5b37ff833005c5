"""An endpoint that answers with one JSON object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send


class JsonHandler:
    """ASGI app over a function from a request to a status and a JSON object, or one that is encoded already."""

    def __init__(self, handler: Callable[[Request], Awaitable[tuple[int, dict[str, Any] | bytes]]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = await self._handler(Request(scope, receive))
        await scope["reply"].whole(status, body)
