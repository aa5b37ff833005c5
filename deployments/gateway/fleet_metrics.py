"""`GET /metrics`: the totals of all gateways, whichever of them is asked.

Each gateway tells the manager every two seconds what it has counted since the last time, and once more when it is asked
for the totals, which the manager alone adds up. So nothing is told that the manager does not have: a total never goes
down because another gateway answers, or because the one that answered last was killed. (Prometheus takes any step down
for a restart from zero, and adds the whole total once more.) While the manager is away there are no totals, rather than
wrong ones.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid

from starlette.types import Receive, Scope, Send

from catalog.errors import GatewayNotReady
from deployments.gateway.fleet import Fleet
from deployments.gateway.metrics import GatewayMetrics
from deployments.metric_families import PUSH_INTERVAL_S

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
        # Whether the manager has all that was counted before the last `changes`.
        self._is_known = False
        self._pushing = asyncio.create_task(self._push())

    async def total(self) -> bytes:
        """What all gateways have counted, in Prometheus's text format.

        Raises GatewayNotReady while the manager does not know.
        """
        total = None
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                # A manager that does not know of this gateway says so, and is told all by the next call.
                if await self.tell() or await self.tell():
                    total = await self._fleet.manager.total_metrics.remote()
        except Exception as error:
            logger.warning("the model manager did not tell the metrics' totals: %s", type(error).__name__)
        if not isinstance(total, bytes):
            raise GatewayNotReady("The totals of all gateways are not known just now; try again.", retry_after_s=5)
        return total

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self.total()
        reply = scope["reply"]
        await reply.begin(200, CONTENT_TYPE, len(body))
        await reply.end(body)

    async def tell(self) -> bool:
        """Tell the manager what this gateway has counted since the last time. Returns whether it knows all now."""
        # One call at a time: of two, the later one could come first, and the earlier one be taken for old.
        async with self._one_at_a_time:
            is_whole, self._is_known = not self._is_known, False
            try:
                counts = await (self._metrics.all() if is_whole else self._metrics.changes())
                self._is_known = await self._fleet.manager.gateway_metrics.remote(
                    self._id, next(self._numbers), counts, is_whole=is_whole
                )
            except Exception as error:
                logger.warning("the model manager did not take this gateway's metrics: %s", type(error).__name__)
            return self._is_known

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(PUSH_INTERVAL_S)
            await self.tell()
