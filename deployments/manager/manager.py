"""The Serve deployment of the model manager: one replica, the single owner of what runs."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayError

from catalog.catalog import AdapterSpec, Catalog, Target
from catalog.errors import InvalidRequest, ModelLoading, ModelNotFound, RaymuxError
from catalog.loading import MODEL_MANAGER, parse
from catalog.replicas import ReplicaReport, VariantStatus
from catalog.settings import CatalogSettings
from deployments.manager.keeper import VariantKeeper
from deployments.manager.serve_control import ServeControl

logger = logging.getLogger("ray.serve")

WATCH_TIMEOUT_S = 10.0
# Changes that come together reach the gateways together.
COALESCE_S = 0.02
HOUSEKEEPING_INTERVAL_S = 1.0


@dataclass(frozen=True)
class FleetView:
    """What gateways know: the catalog (only when it changed), every replica and every variant's status."""

    version: int
    catalog_version: int
    catalog: CatalogSettings | None
    replicas: tuple[ReplicaReport, ...]
    variants: tuple[VariantStatus, ...]
    promoted: frozenset[str]


@serve.deployment(name=MODEL_MANAGER, num_replicas=1, max_ongoing_requests=100_000, ray_actor_options={"num_cpus": 0})
class ModelManager:
    """Its `user_config` is the catalog."""

    def __init__(self) -> None:
        self._control = ServeControl()
        self._catalog: Catalog | None = None
        self._catalog_version = int(time.time() * 1000)
        self._version = self._catalog_version
        self._has_changed = asyncio.Condition()
        self._keepers: dict[str, VariantKeeper] = {}
        self._promoted: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take over a catalog: what it adds restarts nothing, what it changes or drops is replaced or leaves."""
        settings = parse(CatalogSettings, config, f"{MODEL_MANAGER}.user_config")
        is_first = self._catalog is None
        self._catalog = Catalog(settings)
        self._catalog_version += 1
        wanted = self._catalog.variants
        for key, spec in wanted.items():
            if key not in self._keepers:
                self._keepers[key] = VariantKeeper(spec, self._control, self._changed)
        dropped = [self._keepers.pop(key) for key in list(self._keepers) if key not in wanted]
        if is_first:
            await self._adopt()
            self._tasks.append(asyncio.create_task(self._keep_house()))
        self._tasks.append(asyncio.create_task(self._apply(wanted, dropped)))
        self._changed()

    async def _adopt(self) -> None:
        """After a restart: find the applications that run already; their replicas report within a second."""
        deployed = await self._control.deployed()
        for keeper in self._keepers.values():
            keeper.is_deployed = keeper.spec.app_name in deployed
        known = {keeper.spec.app_name for keeper in self._keepers.values()}
        for orphan in deployed - known:
            self._tasks.append(asyncio.create_task(self._control.delete(orphan)))

    async def _apply(self, wanted: dict[str, Any], dropped: list[VariantKeeper]) -> None:
        updates = [self._keepers[key].update(spec) for key, spec in wanted.items() if key in self._keepers]
        results = await asyncio.gather(*updates, *(keeper.remove() for keeper in dropped), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                logger.error("applying the configuration failed: %r", result)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            self._tasks = [task for task in self._tasks if not task.done()]
            for keeper in self._keepers.values():
                keeper.forget_silent(time.time())

    def _changed(self) -> None:
        self._version += 1
        task = asyncio.ensure_future(self._notify())
        task.add_done_callback(lambda _: None)

    async def _notify(self) -> None:
        async with self._has_changed:
            self._has_changed.notify_all()

    # Called by engine replicas

    async def report(self, report: ReplicaReport) -> None:
        """Take what a replica says of itself; one that belongs to no variant is ignored."""
        keeper = self._keepers.get(report.variant)
        if keeper is not None:
            keeper.take(report)

    # Called by gateways

    async def watch(self, version: int, catalog_version: int) -> FleetView:
        """The view of the fleet as soon as it differs from `version`, or after 10 s."""
        async with self._has_changed:
            try:
                await asyncio.wait_for(self._has_changed.wait_for(lambda: self._version != version), WATCH_TIMEOUT_S)
            except TimeoutError:
                pass
        await asyncio.sleep(COALESCE_S)
        is_new = self._catalog is not None and catalog_version != self._catalog_version
        return FleetView(
            version=self._version,
            catalog_version=self._catalog_version,
            catalog=self._catalog.settings if is_new and self._catalog else None,
            replicas=tuple(report for keeper in self._keepers.values() for report in keeper.replicas.values()),
            variants=tuple(keeper.status() for keeper in self._keepers.values()),
            promoted=frozenset(self._promoted),
        )

    async def ensure(
        self, variant: str, adapter: AdapterSpec | None = None, suspects: tuple[str, ...] = ()
    ) -> ReplicaReport | RaymuxError:
        """A ready replica of the variant, with the adapter if one is named. Waits for the start.

        An expected failure is returned and not raised, since Ray wraps what is raised.
        """
        try:
            keeper = self._keeper(variant)
            if adapter is None:
                return await keeper.ensure_ready(suspects)
            return await keeper.ensure_adapter(adapter, suspects)
        except RaymuxError as error:
            return error
        except RayError as error:
            # The replica died under the call that loads an adapter.
            logger.warning("%s broke off: %s", variant, type(error).__name__)
            return ModelLoading("The model's replica left while it loaded the adapter; try again.", retry_after_s=1)

    async def promote(self, name: str) -> RaymuxError | None:
        """Allow an RL checkpoint to serve, and start it without waiting."""
        target = self._find(name)
        if target is None:
            return ModelNotFound(f"No model is named {name}. See GET /v1/models.", param="model")
        if target.kind != "checkpoint":
            return InvalidRequest(f"{name} is no RL checkpoint, so there is nothing to promote.", param="model")
        self._promoted.add(target.name)
        self._start_soon(target)
        self._changed()
        return None

    async def start(self, name: str) -> RaymuxError | None:
        """Start the first variant of a model without waiting, also after a stop by hand."""
        target = self._find(name)
        if target is None:
            return ModelNotFound(f"No model is named {name}. See GET /v1/models.", param="model")
        for variant in target.variants:
            self._keeper(variant.key).allow_start()
        self._start_soon(target)
        return None

    async def stop(self, name: str) -> RaymuxError | None:
        """Stop every variant of a model by hand: running requests end first."""
        target = self._find(name)
        if target is None:
            return ModelNotFound(f"No model is named {name}. See GET /v1/models.", param="model")
        if target.adapter is not None:
            return InvalidRequest(f"{name} is an adapter of {target.base}; stop that model instead.", param="model")
        for variant in target.variants:
            self._tasks.append(asyncio.create_task(self._keeper(variant.key).stop()))
        return None

    def _start_soon(self, target: Target) -> None:
        self._tasks.append(asyncio.create_task(self._start_quietly(target)))

    async def _start_quietly(self, target: Target) -> None:
        outcome = await self.ensure(target.variants[0].key, target.adapter)
        if isinstance(outcome, RaymuxError):
            logger.warning("start of %s: %s", target.name, outcome.message)

    def _find(self, name: str) -> Target | None:
        return self._catalog.find(name) if self._catalog else None

    def _keeper(self, variant: str) -> VariantKeeper:
        keeper = self._keepers.get(variant)
        if keeper is None:
            raise ModelNotFound("The model left the catalog a moment ago. See GET /v1/models.", param="model")
        return keeper
