"""`GET /metrics`: the totals of all gateways, whichever of them is asked.

Each gateway tells the manager every two seconds what it has counted. The manager adds up the others' numbers, those of
gateways that have ended, and its own; the one that is asked adds what it has counted itself. A gateway that is killed
takes at most its last two seconds with it.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from deployments.gateway.fleet import Fleet
from deployments.gateway.metrics import GatewayMetrics
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot, exposition, merged, snapshot

logger = logging.getLogger("ray.serve")

ASK_TIMEOUT_S = 2.0
CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


class FleetMetrics:
    """This gateway's share, and its view of the others'."""

    def __init__(self, fleet: Fleet, metrics: GatewayMetrics) -> None:
        self._fleet = fleet
        self._metrics = metrics
        self._id = uuid.uuid4().hex
        self._others: Snapshot = {}
        self._pushing = asyncio.create_task(self._push())

    def own(self) -> Snapshot:
        """What this gateway has counted."""
        self._metrics.read_queues()
        return snapshot(self._metrics.registry)

    async def total(self) -> Snapshot:
        """What all gateways have counted; of the others what was known last, while the manager is away."""
        with suppress(Exception):
            async with asyncio.timeout(ASK_TIMEOUT_S):
                others = await self._fleet.manager.other_metrics.remote(self._id)
                # None from a manager that has not heard from all gateways yet.
                self._others = others if isinstance(others, dict) else self._others
        return merged([self._others, self.own()])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = exposition(await self.total())
        reply = scope["reply"]
        await reply.begin(200, CONTENT_TYPE, len(body))
        await reply.end(body)

    async def _push(self) -> None:
        told: Snapshot | None = None
        while True:
            await asyncio.sleep(PUSH_INTERVAL_S)
            now = self.own()
            # An unchanged one is sent as None, which only says that this gateway lives.
            is_known = await self._tell(None if now == told else now)
            told = now if is_known else None

    async def _tell(self, counts: Snapshot | None) -> bool:
        """Whether the manager now knows all of this gateway's counts."""
        try:
            return await self._fleet.manager.gateway_metrics.remote(self._id, counts)
        except Exception as error:
            logger.warning("the model manager did not take this gateway's metrics: %s", type(error).__name__)
            return False
