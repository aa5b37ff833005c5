"""`GET /metrics/engines`: what each engine counts of itself, as its own server tells it, with its replica as labels."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import Receive, Scope, Send

from catalog.replicas import ReplicaReport
from deployments.gateway.fleet import Fleet
from deployments.gateway.fleet_metrics import CONTENT_TYPE
from deployments.gateway.relay import Relay, ReplicaUnavailable
from deployments.metric_families import Snapshot, exposition, merged, parsed

logger = logging.getLogger("ray.serve")

MAX_AT_ONCE = 32


class EngineMetrics:
    """Asks every ready replica. One that does not answer, or whose engine counts nothing, is left out."""

    def __init__(self, fleet: Fleet, relay: Relay) -> None:
        self._fleet = fleet
        self._relay = relay
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ready = [each for key in self._fleet.catalog.variants for each in self._fleet.replicas(key) if each.is_ready]
        snapshots = await asyncio.gather(*(self._of(replica) for replica in ready))
        body = await asyncio.to_thread(lambda: exposition(merged(snapshots)))
        reply = scope["reply"]
        await reply.begin(200, CONTENT_TYPE, len(body))
        await reply.end(body)

    async def _of(self, replica: ReplicaReport) -> Snapshot:
        model, _, shape = replica.variant.rpartition("@")
        labels = {"model": model, "variant": shape, "replica": replica.replica_id}
        try:
            async with self._places:
                text = await self._relay.metrics(replica)
            # In a thread: an engine has a thousand lines of them, and streams do not wait for that.
            return await asyncio.to_thread(parsed, text, labels)
        except (ReplicaUnavailable, ValueError) as error:
            logger.warning("no metrics of replica %s: %s", replica.replica_id, type(error).__name__)
            return {}
