"""What this gateway knows of the fleet: catalog, replicas and variants' states, kept fresh by the manager."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from catalog.catalog import AdapterSpec, Catalog, VariantSpec
from catalog.errors import GatewayNotReady, ModelLoading, RaymuxError
from catalog.replicas import ReplicaReport, ReplicaState, VariantStatus
from deployments.manager.manager import FleetView
from router.replicas import choose_replica

logger = logging.getLogger("ray.serve")

RETRY_INTERVAL_S = 0.5
MANAGER_ATTEMPTS = 3


class Fleet:
    """The gateway's replica registry, and its line to the manager."""

    def __init__(self, manager: DeploymentHandle) -> None:
        self._manager = manager
        self._catalog: Catalog | None = None
        self._replicas: dict[str, dict[str, ReplicaReport]] = {}
        self._unreachable: dict[str, float] = {}
        self._ongoing: Counter[str] = Counter()
        self._starts: dict[tuple[str, str | None], asyncio.Task[ReplicaReport | RaymuxError]] = {}
        self._turns = itertools.count()
        self.statuses: dict[str, VariantStatus] = {}
        self.promoted: frozenset[str] = frozenset()
        self.seen_manager_at_s = 0.0
        self._watching = asyncio.create_task(self._watch())

    @property
    def catalog(self) -> Catalog:
        """Raises GatewayNotReady until the manager has answered once."""
        if self._catalog is None:
            raise GatewayNotReady(
                "The gateway has not received its catalog yet; try again in a moment.", retry_after_s=1
            )
        return self._catalog

    @property
    def is_ready(self) -> bool:
        return self._catalog is not None

    @property
    def manager(self) -> DeploymentHandle:
        return self._manager

    def replicas(self, variant: str) -> list[ReplicaReport]:
        """The replicas of a variant, in any state."""
        return list(self._replicas.get(variant, {}).values())

    def choose(self, variant: VariantSpec, adapter: AdapterSpec | None) -> ReplicaReport | None:
        """A replica that can serve the request now, or None."""
        return choose_replica(
            self._replicas.get(variant.key, {}).values(),
            self._ongoing,
            adapter=adapter.name if adapter else None,
            excluded=self._unreachable,
            turn=next(self._turns),
        )

    @contextmanager
    def ongoing(self, replica: ReplicaReport) -> Iterator[None]:
        """Count a request to the replica for as long as the block runs."""
        self._ongoing[replica.replica_id] += 1
        try:
            yield
        finally:
            self._ongoing[replica.replica_id] -= 1
            if self._ongoing[replica.replica_id] == 0:
                del self._ongoing[replica.replica_id]

    def mark_unreachable(self, replica: ReplicaReport) -> None:
        """Offer the replica no more until it reports again."""
        self._unreachable[replica.replica_id] = time.time()

    def start(self, variant: VariantSpec, adapter: AdapterSpec | None) -> asyncio.Task[ReplicaReport | RaymuxError]:
        """Have the manager bring up a replica. Requests that need the same share one task: shield it."""
        key = (variant.key, adapter.name if adapter else None)
        task = self._starts.get(key)
        if task is None:
            task = asyncio.create_task(self._ensure(variant, adapter))
            self._starts[key] = task
            task.add_done_callback(lambda _: self._starts.pop(key, None))
        return task

    async def _ensure(self, variant: VariantSpec, adapter: AdapterSpec | None) -> ReplicaReport | RaymuxError:
        # The manager may not have heard yet of what this gateway has met: a dead replica, or one that drains.
        suspects = tuple(
            id
            for id, replica in self._replicas.get(variant.key, {}).items()
            if id in self._unreachable or replica.state is ReplicaState.DRAINING
        )
        for _ in range(MANAGER_ATTEMPTS):
            try:
                outcome = await self._manager.ensure.remote(variant.key, adapter, suspects)
            except RayError as error:
                # The manager died under the call; Serve restarts it, and the next call waits for it.
                logger.warning("the model manager broke off: %s", type(error).__name__)
                await asyncio.sleep(RETRY_INTERVAL_S)
                continue
            if isinstance(outcome, ReplicaReport):
                self._take(outcome)
            return outcome
        return ModelLoading(f"{variant.model} could not be started just now; try again.", retry_after_s=5)

    def _take(self, report: ReplicaReport) -> None:
        if report.sent_at_s > self._unreachable.get(report.replica_id, 0.0):
            self._unreachable.pop(report.replica_id, None)
        self._replicas.setdefault(report.variant, {})[report.replica_id] = report

    def mark_draining(self, replica: ReplicaReport) -> None:
        """The replica has said that it leaves."""
        self._take(replace(replica, state=ReplicaState.DRAINING))

    async def _watch(self) -> None:
        """Follow the manager for ever; while it is away, what was known last stays in use."""
        version = catalog_version = 0
        while True:
            try:
                view: FleetView = await self._manager.watch.remote(version, catalog_version)
                self._apply(view)
                version, catalog_version = view.version, view.catalog_version
            except Exception as error:
                logger.warning("the model manager does not answer: %s", type(error).__name__)
                await asyncio.sleep(RETRY_INTERVAL_S)

    def _apply(self, view: FleetView) -> None:
        if view.catalog is not None:
            self._catalog = Catalog(view.catalog)
        self._replicas = {}
        for report in view.replicas:
            self._take(report)
        alive = {report.replica_id for report in view.replicas}
        self._unreachable = {id: at_s for id, at_s in self._unreachable.items() if id in alive}
        self.statuses = {status.variant: status for status in view.variants}
        self.promoted = view.promoted
        self.seen_manager_at_s = time.time()
