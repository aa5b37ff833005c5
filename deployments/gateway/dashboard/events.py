"""`GET /v1/events`: the state of the fleet as a stream of Server-Sent Events, for as long as somebody looks.

The first event, `snapshot`, has everything that the caller may see; each `update` has what has changed since, at most
once a second. Both hold `now_s`, the gateway's time, and sections (`models`, `variants`, `gpus`, `jobs`) of entries by
their keys; null for an entry that is gone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from catalog.errors import RateLimitExceeded
from catalog.keys import Access, Caller
from deployments.gateway.dashboard.board import Board, View
from deployments.gateway.departure import Departure
from deployments.gateway.exchange import EVENT_STREAM, ClientLeft, Exchange, Reply
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.inference import until_client_leaves

INTERVAL_S = 1.0
# Sooner than any proxy on the way takes a stream for dead.
HEARTBEAT_S = 15.0
# Then the client begins anew: with the key that it has by then, and with a snapshot.
MAX_STREAM_S = 900.0
# A client that takes nothing for so long is gone, as far as this gateway is concerned.
WRITE_TIMEOUT_S = 30.0
MAX_STREAMS = 64


class Events:
    """ASGI app of the stream.

    A client that reads slowly gets fewer updates, for none is made before it has taken the last one.
    """

    def __init__(
        self,
        board: Board,
        departure: Departure,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._board = board
        self._departure = departure
        self._clock = clock
        self._sleep = sleep
        self._num_open = 0

    def routes(self) -> list[GuardedRoute]:
        return [GuardedRoute(path, self, methods=["GET"], access=Access.KEY) for path in ("/v1/events", "/events")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._num_open >= MAX_STREAMS:
            raise RateLimitExceeded(
                f"{MAX_STREAMS} streams of events are open, which is all there may be; close one.", retry_after_s=10
            )
        exchange: Exchange = scope["exchange"]
        self._num_open += 1
        try:
            await until_client_leaves(receive, exchange, self._follow(exchange.caller, scope["reply"]))
        finally:
            self._num_open -= 1

    async def _follow(self, caller: Caller, reply: Reply) -> None:
        view = View(self._board, caller)
        told = {"caller": {"tenant": caller.tenant, "key": caller.key_id, "is_admin": caller.is_admin}}
        # Before the head is sent: without a catalog this is an error of its own.
        everything = view.changes()
        await reply.begin(200, EVENT_STREAM)
        await self._say(reply, "snapshot", {**told, **everything})
        begun_s = spoken_s = self._clock()
        while not self._departure.is_leaving and self._clock() - begun_s < MAX_STREAM_S:
            await self._sleep(INTERVAL_S)
            if changes := view.changes():
                await self._say(reply, "update", changes)
            elif self._clock() - spoken_s >= HEARTBEAT_S:
                await _in_time(reply.comment("nothing new"))
            else:
                continue
            spoken_s = self._clock()
        await reply.end()

    async def _say(self, reply: Reply, event: str, content: dict[str, Any]) -> None:
        data = json.dumps({"now_s": round(self._board.now_s, 3), **content}, separators=(",", ":"))
        await _in_time(reply.write(f"event: {event}\ndata: {data}\n\n".encode()))


async def _in_time(writing: Awaitable[None]) -> None:
    """Raises ClientLeft for a client that does not take it."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await writing
    except TimeoutError:
        raise ClientLeft from None
