"""Notices that a client leaves while its request waits, without losing what it has sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from starlette.types import Message, Receive


class ClientLeft(Exception):
    """The client has closed the connection, so nobody waits for an answer."""


class ReadAhead:
    """An ASGI `receive` that keeps what it has read while the request waited."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: deque[Message] = deque()

    async def __call__(self) -> Message:
        return self._kept.popleft() if self._kept else await self._receive()

    async def unless_left(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait for something. Raises ClientLeft when the client leaves first, and what `waiting` raises."""
        wait, leave = asyncio.create_task(waiting), asyncio.create_task(self._left())
        try:
            await asyncio.wait({wait, leave}, return_when=asyncio.FIRST_COMPLETED)
            if not wait.done():
                raise ClientLeft
            wait.result()
        finally:
            wait.cancel()
            leave.cancel()

    async def _left(self) -> None:
        while True:
            message = await self._receive()
            self._kept.append(message)
            if message["type"] == "http.disconnect":
                return
