"""The keepers of all variants, as the catalog has them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator

from catalog.catalog import AdapterSpec, Catalog, Target, VariantSpec
from catalog.errors import ModelNotFound
from catalog.replicas import ReplicaReport, VariantState
from deployments.manager.keeper import VariantKeeper
from deployments.manager.serve_control import ServeControl

logger = logging.getLogger("ray.serve")


class Keepers:
    """One keeper per variant; `on_change` is told of whatever changes in one."""

    def __init__(self, control: ServeControl, on_change: Callable[[], None]) -> None:
        self._control = control
        self._on_change = on_change
        self._keepers: dict[str, VariantKeeper] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[VariantKeeper]:
        return iter(self._keepers.values())

    async def take_over(self, catalog: Catalog, *, is_first: bool) -> None:
        """Keep what the catalog has: what it adds restarts nothing, what it changes or drops is replaced or leaves."""
        wanted = catalog.variants
        for key, spec in wanted.items():
            if key not in self._keepers:
                self._keepers[key] = VariantKeeper(spec, self._control, self._on_change)
        dropped = [self._keepers.pop(key) for key in list(self._keepers) if key not in wanted]
        if is_first:
            await self._adopt()
        self._do(self._apply(wanted, dropped))

    async def _adopt(self) -> None:
        """After a restart: find the applications that run already; their replicas report within a second."""
        deployed = await self._control.deployed()
        for keeper in self:
            keeper.is_deployed = keeper.spec.app_name in deployed
        for orphan in deployed - {keeper.spec.app_name for keeper in self}:
            self._do(self._control.delete(orphan))

    async def _apply(self, wanted: dict[str, VariantSpec], dropped: list[VariantKeeper]) -> None:
        updates = [self._keepers[key].update(spec) for key, spec in wanted.items() if key in self._keepers]
        results = await asyncio.gather(*updates, *(keeper.remove() for keeper in dropped), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                logger.error("applying the catalog failed: %r", result)

    def _do(self, work) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def find(self, key: str) -> VariantKeeper:
        """The keeper of a variant. Raises ModelNotFound when it has left the catalog."""
        keeper = self._keepers.get(key)
        if keeper is None:
            raise ModelNotFound("The model left the catalog a moment ago. See GET /v1/models.", param="model")
        return keeper

    def of(self, target: Target) -> list[VariantKeeper]:
        """The keepers of a target's variants."""
        return [self.find(variant.key) for variant in target.variants]

    def is_ready(self, key: str) -> bool:
        """Whether a variant that is in the catalog has a ready replica."""
        keeper = self._keepers.get(key)
        return keeper is not None and keeper.state is VariantState.READY

    def have_reported(self) -> bool:
        """Whether every variant that is deployed has a replica that has reported."""
        return all(keeper.replicas for keeper in self if keeper.is_deployed)

    def take(self, report: ReplicaReport) -> None:
        """Note what a replica says of itself; one that belongs to no variant is ignored."""
        keeper = self._keepers.get(report.variant)
        if keeper is not None:
            keeper.take(report)

    def forget_silent(self) -> None:
        """Drop replicas that have not reported for long."""
        for keeper in self:
            keeper.forget_silent(time.time())

    async def ensure(
        self, variants: Iterable[str], adapter: AdapterSpec | None = None, suspects: tuple[str, ...] = ()
    ) -> ReplicaReport:
        """A ready replica of one of the variants, with the adapter if one is named. Waits for the start.

        Raises what `VariantKeeper.ensure_ready` and `ensure_adapter` raise.
        """
        keeper = self._choose([self.find(key) for key in variants])
        if adapter is None:
            return await keeper.ensure_ready(suspects)
        return await keeper.ensure_adapter(adapter, suspects)

    def _choose(self, keepers: list[VariantKeeper]) -> VariantKeeper:
        return next((keeper for keeper in keepers if keeper.state is VariantState.READY), keepers[0])
