"""The keepers of all variants, as the catalog has them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

from autoscaling.choice import Choice, Option, Reason, choose, relief
from autoscaling.cluster import Cluster, Footing
from autoscaling.placement import place
from catalog.catalog import AdapterSpec, Catalog, Target, VariantSpec
from catalog.errors import GpuUnavailable, ModelLoading, ModelNotFound, RaymuxError
from catalog.gpus import spills
from catalog.replicas import ReplicaReport, VariantState
from deployments.background import Background
from deployments.manager.keeper import VariantKeeper
from deployments.manager.serve_control import ServeControl
from deployments.manager.view import Placed

logger = logging.getLogger("ray.serve")

# Replicas report every second or two, so a new manager knows of those that run by then.
HEAR_TIMEOUT_S = 2.5
HEAR_POLL_S = 0.05


class Keepers:
    """One keeper per variant. `look` gives the cluster.

    `on_change` is told of whatever changes in a keeper: its variant's key, and whether that is the variant's state.
    `on_occupied` is told of a variant that is started although others hold its place.
    """

    def __init__(
        self,
        control: ServeControl,
        look: Callable[[], Awaitable[Cluster]],
        on_change: Callable[[str, bool], None],
        on_occupied: Callable[[VariantSpec], None] = lambda _: None,
    ) -> None:
        self._on_occupied = on_occupied
        self._control = control
        self._look = look
        self._on_change = on_change
        self._keepers: dict[str, VariantKeeper] = {}
        self._background = Background()

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
        self._background.start(self._apply(wanted, dropped))

    async def _adopt(self) -> None:
        """After a restart: find the applications that run already; their replicas report within a second."""
        deployed = await self._control.deployed()
        for keeper in self:
            keeper.is_deployed = keeper.spec.app_name in deployed
        for orphan in deployed - {keeper.spec.app_name for keeper in self}:
            self._background.start(self._control.delete(orphan))

    async def _apply(self, wanted: dict[str, VariantSpec], dropped: list[VariantKeeper]) -> None:
        updates = [self._keepers[key].update(spec) for key, spec in wanted.items() if key in self._keepers]
        results = await asyncio.gather(*updates, *(keeper.retire() for keeper in dropped), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                logger.error("applying the catalog failed: %r", result)

    def find(self, key: str) -> VariantKeeper:
        """The keeper of a variant. Raises ModelNotFound when it has left the catalog."""
        keeper = self._keepers.get(key)
        if keeper is None:
            raise ModelNotFound("The model left the catalog a moment ago. See GET /v1/models.", param="model")
        return keeper

    def of_keys(self, keys: Iterable[str]) -> list[VariantKeeper]:
        """The keepers of those variants that are in the catalog."""
        return [self._keepers[key] for key in keys if key in self._keepers]

    def of(self, target: Target) -> list[VariantKeeper]:
        """The keepers of a target's variants."""
        return [self.find(variant.key) for variant in target.variants]

    def stop(self, target: Target) -> None:
        """Start nothing of a target any more, and have what runs leave. Returns at once."""
        for keeper in self.of(target):
            keeper.stop()

    def is_ready(self, key: str) -> bool:
        """Whether a variant that is in the catalog has a ready replica."""
        keeper = self._keepers.get(key)
        return keeper is not None and keeper.state is VariantState.READY

    async def hear(self) -> None:
        """Wait until every variant that is deployed has a replica that has reported, 2.5 s at the most."""
        deadline_s = time.monotonic() + HEAR_TIMEOUT_S
        while any(k.is_deployed and not k.replicas for k in self) and time.monotonic() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(HEAR_POLL_S)

    def is_up(self, target: Target) -> bool:
        """Whether a variant of the target has a replica, is being started, or may not be started."""
        return any(
            keeper.replicas or keeper.is_blocked or keeper.state is VariantState.SCHEDULING
            for keeper in self.of(target)
        )

    def num_ongoing(self, target: Target) -> int:
        """Requests in the replicas of a target's variants, those of its neighbours there too."""
        return sum(keeper.num_ongoing for keeper in self.of(target))

    def is_used(self, target: Target) -> bool:
        """Whether requests of a target run: for an adapter those that use it, else any on its variants."""
        if target.adapter is None:
            return self.num_ongoing(target) > 0
        reports = (report for keeper in self.of(target) for report in keeper.replicas.values())
        return any(target.name in report.busy_adapters for report in reports)

    def take(self, report: ReplicaReport) -> VariantKeeper | None:
        """Note what a replica says of itself. Returns its variant's keeper, or None when it belongs to no variant."""
        keeper = self._keepers.get(report.variant)
        if keeper is not None:
            keeper.take(report)
        return keeper

    async def forget_silent(self) -> None:
        """Drop replicas that have not reported for long, and end those that hang."""
        now_s = time.time()
        for keeper in list(self):
            await keeper.forget_silent(now_s)

    async def end_unplaced(self) -> None:
        """End starts whose place has gone with its node, and which nothing that may be added has room for."""
        if not any(keeper.is_unplaced(time.time()) for keeper in self):
            return
        try:
            cluster = await self._look()
        except ModelLoading:
            return
        for keeper in self:
            if keeper.is_unplaced(time.time()) and self._footing(keeper, cluster) is Footing.NEVER:
                keeper.lose_place(_no_place([keeper.spec.key]))

    async def ensure(
        self,
        variants: tuple[str, ...],
        adapter: AdapterSpec | None = None,
        suspects: tuple[str, ...] = (),
        *,
        in_order: bool = False,
    ) -> Placed:
        """A ready replica of one of the variants, with the adapter if one is named. Waits for the start.

        `in_order` as for `autoscaling.choice.choose`. Raises GpuUnavailable, and what `VariantKeeper.ensure_ready` and
        `ensure_adapter` raise.
        """
        for key in variants:
            self.find(key).forget(suspects)
        while True:
            choice = await self.choose(variants, in_order=in_order)
            keeper = self.find(choice.key)
            keeper.note_choice(choice.reason)
            if choice.reason is Reason.OCCUPIED:
                self._on_occupied(keeper.spec)
            try:
                replica = await (keeper.ensure_ready() if adapter is None else keeper.ensure_adapter(adapter))
            except GpuUnavailable:
                # The node is gone that it was to start on; the model may have a variant for another one.
                continue
            return Placed(replica, choice.reason, keeper.status())

    async def choose(self, variants: tuple[str, ...], *, in_order: bool = False) -> Choice:
        """The variant for a request. Raises GpuUnavailable, or why none may be started."""
        options = await self._options(variants)
        choice = choose(options, in_order=in_order)
        if choice is not None:
            return choice
        for option in options:
            if option.is_blocked:
                self.find(option.key).require_startable()
        raise _no_place(variants)

    async def relieve(self, variants: tuple[str, ...]) -> None:
        """Start another variant in the background where those that serve are full, or the CPU stands in for GPUs."""
        choice = relief(await self._options(variants))
        if choice is None:
            return
        keeper = self.find(choice.key)
        keeper.note_choice(choice.reason)
        logger.info("%s relieves the other variants: %s", choice.key, choice.reason)
        self._background.start(_quietly(keeper))

    async def _options(self, variants: tuple[str, ...]) -> list[Option]:
        cluster = await self._look()
        keepers = [self.find(key) for key in variants]
        spilled = spills([keeper.spec.settings.shape for keeper in keepers])
        return [
            _option(keeper, self._footing(keeper, cluster), is_spill)
            for keeper, is_spill in zip(keepers, spilled, strict=True)
        ]

    def _footing(self, keeper: VariantKeeper, cluster: Cluster) -> Footing:
        settings = keeper.spec.settings
        if settings.sleep_group is not None and self._is_placed(settings.sleep_group):
            return Footing.NOW
        placement = place(settings)
        return cluster.footing(placement.bundles, placement.strategy)

    def _is_placed(self, sleep_group: str) -> bool:
        """Whether the group has its GPUs already: one of its variants runs on them."""
        return any(each.replicas for each in self if each.spec.settings.sleep_group == sleep_group)


def _option(keeper: VariantKeeper, footing: Footing, is_spill: bool) -> Option:
    has_free_place = footing in (Footing.NOW, Footing.ADDABLE)
    return Option(
        keeper.spec.key,
        keeper.state,
        footing,
        is_spill=is_spill,
        has_room=keeper.has_room,
        can_grow=has_free_place and len(keeper.replicas) < keeper.spec.settings.max_replicas,
        is_blocked=keeper.is_blocked,
    )


def _no_place(variants: Iterable[str]) -> GpuUnavailable:
    shapes = ", ".join(key.rpartition("@")[2] for key in variants)
    return GpuUnavailable(
        f"No node of this cluster has room for {shapes}, nor may one be added that does. See GET /v1/gpus.",
        retry_after_s=60,
    )


async def _quietly(keeper: VariantKeeper) -> None:
    try:
        await keeper.ensure_ready()
    except RaymuxError as error:
        logger.warning("start of %s: %s", keeper.spec.key, error.message)
