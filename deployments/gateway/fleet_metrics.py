"""`GET /metrics`: the totals of all gateways, whichever of them is asked.

Each gateway tells the manager every two seconds what it has counted, and once more when it is asked for the totals,
which the manager alone adds up. So nothing is told that the manager does not have: a total never goes down because
another gateway answers, or because the one that answered last was killed. (Prometheus takes any step down for a restart
from zero, and adds the whole total once more.) While the manager is away there are no totals, rather than wrong ones.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from typing import Any

from starlette.types import Receive, Scope, Send

from catalog.errors import GatewayNotReady
from deployments.gateway.fleet import Fleet
from deployments.gateway.metrics import GatewayMetrics
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot, exposition, snapshot

logger = logging.getLogger("ray.serve")

ASK_TIMEOUT_S = 2.0
CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


class FleetMetrics:
    """This gateway's share of the fleet's metrics, and the way to the totals."""

    def __init__(self, fleet: Fleet, metrics: GatewayMetrics) -> None:
        self._fleet = fleet
        self._metrics = metrics
        self._id = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._one_at_a_time = asyncio.Lock()
        self._told: Any = None
        self._pushing = asyncio.create_task(self._push())

    async def total(self) -> Snapshot:
        """What all gateways have counted. Raises GatewayNotReady while the manager does not know."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                number, own = await self._own()
                total = await self._fleet.manager.total_metrics.remote(self._id, number, own)
        except Exception as error:
            logger.warning("the model manager did not tell the metrics' totals: %s", type(error).__name__)
            total = None
        if not isinstance(total, dict):
            raise GatewayNotReady("The totals of all gateways are not known just now; try again.", retry_after_s=5)
        return total

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await asyncio.to_thread(exposition, await self.total())
        reply = scope["reply"]
        await reply.begin(200, CONTENT_TYPE, len(body))
        await reply.end(body)

    async def tell(self) -> None:
        """Tell the manager what this gateway has counted; if that is nothing new, only that it lives."""
        state = self._metrics.state()
        is_new = state != self._told
        try:
            number, own = await self._own() if is_new else (next(self._numbers), None)
            is_known = await self._fleet.manager.gateway_metrics.remote(self._id, number, own)
        except Exception as error:
            logger.warning("the model manager did not take this gateway's metrics: %s", type(error).__name__)
            is_known = False
        self._told = state if is_known else None

    async def _own(self) -> tuple[int, Snapshot]:
        """What this gateway has counted, numbered so that an older count which comes late is known as such.

        In a thread: with hundreds of models it takes a good part of a second, for which streams cannot wait.
        """
        async with self._one_at_a_time:
            self._metrics.read_queues()
            return next(self._numbers), await asyncio.to_thread(snapshot, self._metrics.registry)

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(PUSH_INTERVAL_S)
            await self.tell()
