"""The events of a job as a stream of Server-Sent Events: those that there are, then each as it comes, to its end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from catalog.errors import RateLimitExceeded
from deployments.gateway.departure import Departure
from deployments.gateway.exchange import EVENT_STREAM, Reply
from deployments.gateway.fine_tuning_replies import shown_event
from deployments.gateway.inference import until_client_leaves
from deployments.gateway.tuning_line import TuningLine

INTERVAL_S = 1.0
HEARTBEAT_S = 15.0
MAX_STREAM_S = 3_600.0
MAX_STREAMS = 64


class JobEvents:
    """ASGI app. The last event is `[DONE]` where the job has ended; a stream that ends without it is begun anew."""

    def __init__(
        self,
        line: TuningLine,
        departure: Departure,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._line = line
        self._departure = departure
        self._clock = clock
        self._sleep = sleep
        self._num_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._num_open >= MAX_STREAMS:
            raise RateLimitExceeded(
                f"{MAX_STREAMS} streams of jobs' events are open, which is all there may be.", retry_after_s=10
            )
        exchange = scope["exchange"]
        self._num_open += 1
        try:
            following = self._follow(exchange.caller.tenant, scope["path_params"]["id"], scope["reply"])
            await until_client_leaves(receive, exchange, following)
        finally:
            self._num_open -= 1

    async def _follow(self, tenant: str, id: str, reply: Reply) -> None:
        last, begun_s = 0, self._clock()
        # Before the head is sent: an unknown job is an error of its own.
        job, events = await self._line.ask("events", tenant, id, last)
        await reply.begin(200, EVENT_STREAM)
        spoken_s = begun_s
        while True:
            for event in events:
                last = event.number
                await reply.write(b"data: " + json.dumps(shown_event(job, event)).encode() + b"\n\n")
            if events:
                spoken_s = self._clock()
            elif self._clock() - spoken_s >= HEARTBEAT_S:
                await reply.comment("nothing new")
                spoken_s = self._clock()
            if job.status.has_ended:
                await self._line.see(job)
                await reply.end(b"data: [DONE]\n\n")
                return
            if self._departure.is_leaving or self._clock() - begun_s >= MAX_STREAM_S:
                await reply.end()
                return
            await self._sleep(INTERVAL_S)
            job, events = await self._line.ask("events", tenant, id, last)
