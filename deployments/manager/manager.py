"""The Serve deployment of the model manager: one replica, the single owner of what runs."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ray import serve
from ray.exceptions import RayError

from autoscaling.choice import Choice
from autoscaling.cluster import Cluster
from catalog.catalog import AdapterSpec, Catalog, Target
from catalog.errors import InvalidRequest, ModelInUse, ModelLoading, ModelNotFound, RaymuxError
from catalog.loading import MODEL_MANAGER, ConfigError, parse, unpacked
from catalog.replicas import ReplicaReport
from catalog.settings import CatalogSettings
from catalog.warmups import Warmup
from deployments.background import Background
from deployments.fine_tuning.facade import FineTuning
from deployments.garbage import spare_what_stays
from deployments.manager.changes import PROMOTED, WARMUPS, Changes
from deployments.manager.cluster_view import ClusterView
from deployments.manager.entries import Entry
from deployments.manager.events import apply_event
from deployments.manager.gossip import Gossip
from deployments.manager.habits import Habits
from deployments.manager.housekeeping import Housekeeping
from deployments.manager.inbox import Inbox
from deployments.manager.keepers import Keepers
from deployments.manager.metrics import FleetCounts, ManagerMetrics
from deployments.manager.news import News
from deployments.manager.notices import Notices
from deployments.manager.orders import Orders
from deployments.manager.registry import Registry
from deployments.manager.returned_errors import returns_errors
from deployments.manager.serve_control import ServeControl
from deployments.manager.stay import stay_terms
from deployments.manager.stores import open_store
from deployments.manager.view import FleetView, Placed, StayTerms
from deployments.manager.warmups import Warmups
from deployments.metric_families import Snapshot, exposition, merged
from deployments.preload.keeper import PoolKeeper
from router.outlook import SentPrompt
from router.webhooks import Event

logger = logging.getLogger("ray.serve")

WATCH_TIMEOUT_S = 10.0
# Changes that come together reach the gateways together.
COALESCE_S = 0.02
MAX_EVENTS_SHOWN = 100


# On the head node, where the store's file is: it must find it again after a restart.
@serve.deployment(
    name=MODEL_MANAGER,
    num_replicas=1,
    max_ongoing_requests=100_000,
    # Its watches end by themselves; Serve's default has every stop wait for two seconds.
    graceful_shutdown_wait_loop_s=0.1,
    ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.0001}},
)
class ModelManager:
    """Its `user_config` is the catalog."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._changes = Changes()
        self._has_heard = asyncio.Event()
        self._control = ServeControl()
        self._keepers = Keepers(
            self._control, self._look, self._changes.note, lambda spec: self._fine_tuning.make_room(spec)
        )
        self._pool = PoolKeeper()
        self._metrics = ManagerMetrics()
        self._gossip = Gossip()
        self._background = Background()

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take over a configuration; the first one also brings back what the store holds.

        One that is no good is not taken over, and the log says why. Serve would end a manager that raised, and start it
        again and again until the configuration is mended; meanwhile no model could start.
        """
        is_first = self._catalog is None
        try:
            settings = parse(CatalogSettings, unpacked(config), f"{MODEL_MANAGER}.user_config")
        except ConfigError as error:
            if is_first:
                raise
            logger.error("the configuration is no good, so the one before stays: %s", error)
            return
        if is_first:
            self._furnish(settings)
        await self._take_over(await self._registry.configure(settings), is_first=is_first)
        if is_first:
            await self._restore()
        self._fine_tuning.follow(settings.fine_tuning)
        if is_first:
            house = self._housekeeping
            for work in (
                self._hear_replicas, house.run, house.follow_decisions, self._inbox.run, self._notices.run,
                self._fine_tuning.run,
            ):  # fmt: skip
                self._background.start(work())

    def _furnish(self, settings: CatalogSettings) -> None:
        """Make the parts that a first configuration says how to."""
        self._store = open_store(settings)
        self._registry = Registry(self._store)
        self._orders = Orders(self._store)
        self._habits = Habits(self._store)
        self._counts = FleetCounts(self._store)
        self._cluster_view = ClusterView(settings.launcher_config)
        self._inbox = Inbox(self._store, functools.partial(apply_event, self))
        self._notices = Notices(self._store, self._keepers, self._changes.has_new_state)
        self._warmups = Warmups(self._store, self._ensure_warmup, functools.partial(self._changes.note, WARMUPS))
        self._fine_tuning = FineTuning(
            self._store, self._notices.tell, self._known_catalog, self._look, self._serve_result
        )
        self._news = News(self._changes, self._keepers, self._orders, self._warmups)
        self._housekeeping = Housekeeping(
            self._known_catalog,
            self._keepers,
            self._warmups,
            self._habits,
            self._counts,
            self._metrics,
            self._start_soon,
        )

    async def _take_over(self, catalog: Catalog, *, is_first: bool = False) -> None:
        self._catalog = catalog
        self._changes.note_catalog()
        variants = (variant for target in catalog.targets() for variant in target.variants)
        self._control.is_preloaded = self._pool.follow(variants, is_wanted=catalog.settings.preload)
        await self._keepers.take_over(catalog, is_first=is_first)
        self._notices.follow(catalog.settings.webhooks)
        self._changes.note_all()
        spare_what_stays()
        if not is_first:
            await self._habits.forget(target.name for target in catalog.targets())

    async def _restore(self) -> None:
        for owner in (
            self._orders, self._warmups, self._habits, self._counts, self._inbox, self._notices, self._fine_tuning,
        ):  # fmt: skip
            await owner.restore()
        for name in self._orders.stopped:
            if (target := self._catalog.find(name) if self._catalog else None) is not None:
                self._keepers.stop(target)
        self._changes.note_all()

    async def _serve_result(self, fields: dict[str, Any], root: str) -> None:
        await self._take_over(await self._registry.add(fields, root))

    def _known_catalog(self) -> Catalog:
        assert self._catalog is not None
        return self._catalog

    async def _hear_replicas(self) -> None:
        """Let the replicas that run report, before anybody is told that there are none, or acts on it."""
        await self._keepers.hear()
        self._has_heard.set()

    # Called by engine replicas

    async def report(self, report: ReplicaReport) -> StayTerms:
        """Take what a replica says of itself. Returns for how long it stays."""
        keeper = self._keepers.take(report)
        if keeper is None:
            return StayTerms(0.0, 0.0)
        if report.used_at_s:
            self._habits.note_use(keeper.spec.model, report.used_at_s)
        return stay_terms(keeper, self._warmups, self._habits, time.time())

    # Called by gateways

    async def watch(
        self, version: int, catalog_version: int, gateway: str = "", sent: tuple[SentPrompt, ...] = ()
    ) -> FleetView:
        """What is new of the fleet as soon as it differs from `version`, or after 10 s.

        The gateway tells by the way what it has `sent` to replicas, and gets what others have.
        """
        self._gossip.take(gateway, sent, time.monotonic())
        await self._has_heard.wait()
        await self._changes.after(version, WATCH_TIMEOUT_S)
        await asyncio.sleep(COALESCE_S)
        return replace(
            self._news.since(version, catalog_version, self._catalog),
            sent=self._gossip.give(gateway, time.monotonic()),
            num_gateways=self._gossip.num_gateways,
        )

    async def gateway_metrics(self, gateway: str, number: int, counts: Snapshot, *, is_whole: bool) -> bool:
        """Note what a gateway has counted, or what of it has changed. False: it must say all of it."""
        return self._counts.take(gateway, number, counts, is_whole=is_whole)

    async def total_metrics(self) -> bytes | None:
        """What everybody has counted, in Prometheus's text format; None while that is not known yet."""
        total = self._counts.total()
        if total is None:
            return None
        snapshots = [total, self._metrics.snapshot(), self._fine_tuning.metrics()]
        # In a thread: after a thousand models it takes half a second.
        return await asyncio.to_thread(exposition, merged(snapshots))

    @returns_errors
    async def ensure(
        self,
        variants: tuple[str, ...],
        adapter: AdapterSpec | None = None,
        suspects: tuple[str, ...] = (),
        *,
        in_order: bool = False,
    ) -> Placed:
        """A ready replica of one of the variants, with the adapter if one is named. Waits for the start.

        `in_order`: the caller lists its shapes, and takes an earlier one that can be had over a later one that is warm.
        """
        try:
            return await self._keepers.ensure(variants, adapter, suspects, in_order=in_order)
        except RayError as error:
            # The replica died under the call that loads an adapter.
            logger.warning("%s broke off: %s", variants, type(error).__name__)
            raise ModelLoading(
                "The model's replica left while it loaded the adapter; try again.", retry_after_s=1
            ) from None

    @returns_errors
    async def relieve(self, variants: tuple[str, ...]) -> None:
        """Start a variant beside those that are full, or that stand in for it. Returns at once."""
        await self._keepers.relieve(variants)

    @returns_errors
    async def choose(self, variants: tuple[str, ...], *, in_order: bool = False) -> Choice:
        """What `ensure` would take now; nothing is started."""
        return await self._keepers.choose(variants, in_order=in_order)

    @returns_errors
    async def cluster(self) -> Cluster:
        """What the cluster has, has free and may grow to."""
        return await self._look()

    async def _look(self) -> Cluster:
        return await self._cluster_view.look()

    @returns_errors
    async def promote(self, name: str) -> None:
        """Allow an RL checkpoint to serve, and start it without waiting."""
        target = self.find(name)
        if target.kind != "checkpoint":
            raise InvalidRequest(f"{name} is no RL checkpoint, so there is nothing to promote.", param="model")
        await self._orders.promote(target.name)
        self._start_soon(target)
        self._changes.note(PROMOTED)

    @returns_errors
    async def start(self, name: str) -> None:
        """Start a model on the variant that `auto` takes, without waiting, also after a stop by hand."""
        target = self.find(name)
        await self._orders.allow(target.name)
        for keeper in self._keepers.of(target):
            keeper.allow_start()
        self._start_soon(target)

    @returns_errors
    async def stop(self, name: str, *, drain: bool = False) -> None:
        """Stop every variant of a model by hand; with `drain`, also while requests run, which end first."""
        target = self.find(name)
        if target.adapter is not None:
            raise InvalidRequest(f"{name} is an adapter of {target.base}; stop that model instead.", param="model")
        await self._has_heard.wait()
        num_ongoing = self._keepers.num_ongoing(target)
        if num_ongoing and not drain:
            raise ModelInUse(
                f"{num_ongoing} requests of {name} are running. POST …/stop?drain=true stops it when they have ended."
            )
        await self._orders.stop(target.name)
        await self._warmups.end_all(target.name)
        self._keepers.stop(target)

    @returns_errors
    async def register(self, fields: dict[str, Any]) -> str:
        """Add a model, an adapter or a checkpoint to the catalog. Returns its name."""
        await self._take_over(await self._registry.add(fields))
        return fields["name"]

    @returns_errors
    async def deregister(self, name: str) -> None:
        """Drop what was registered at run time, unless requests, warm-ups or other models need it."""
        target = self.find(name)
        await self._has_heard.wait()
        self._require_unused(target)
        catalog = await self._registry.remove(target)
        await self._orders.forget(target.name)
        await self._take_over(catalog)

    @returns_errors
    async def ingest(self, id: str, event: Event) -> bool:
        """Keep an event of a webhook, to be done soon. Returns whether it is new."""
        return await self._inbox.take(id, event)

    @returns_errors
    async def events(self, *, are_sent: bool = False) -> Sequence[Entry]:
        """The last events of webhooks, those that were taken or those for receivers, newest first."""
        return (self._notices if are_sent else self._inbox).entries(MAX_EVENTS_SHOWN)

    @returns_errors
    async def fine_tuning(self, verb: str, *arguments: Any) -> Any:
        """What gateways ask of fine-tuning files and jobs: a verb of FineTuning, and its arguments."""
        return await self._fine_tuning.call(verb, *arguments)

    def _require_unused(self, target: Target) -> None:
        if self._warmups.keeps(target.name):
            raise ModelInUse(f"A warm-up keeps {target.name}: end it with DELETE /v1/warmup/<id> first.")
        if self._keepers.is_used(target):
            raise ModelInUse(f"Requests of {target.name} are running; try again when they have ended.", retry_after_s=5)

    @returns_errors
    async def warm_up(
        self, name: str, variants: tuple[str, ...], keep_warm_s: float, *, wait: bool, in_order: bool = False
    ) -> Warmup:
        """Start a model on one of its variants, chosen as for a request, and keep it.

        With `wait`, returns when it is ready or has failed.
        """
        target = self.find(name)
        for key in variants:
            self._keepers.find(key).require_startable()
        warmup = await self._warmups.begin(target.name, variants, keep_warm_s, in_order=in_order)
        return await self._warmups.settled(warmup.id) if wait else warmup

    @returns_errors
    async def end_warmup(self, id: str) -> Warmup:
        """End a warm-up before its time."""
        return await self._warmups.end(id)

    async def _ensure_warmup(self, warmup: Warmup) -> Placed | RaymuxError:
        target = self._catalog.find(warmup.model) if self._catalog else None
        adapter = target.adapter if target else None
        return await self.ensure(warmup.wanted, adapter, in_order=warmup.is_in_order)

    def _start_soon(self, target: Target) -> None:
        self._background.start(self._start_quietly(target))

    async def _start_quietly(self, target: Target) -> None:
        outcome = await self.ensure(tuple(variant.key for variant in target.variants), target.adapter)
        if isinstance(outcome, RaymuxError):
            logger.warning("start of %s: %s", target.name, outcome.message)

    def find(self, name: str) -> Target:
        target = self._catalog.find(name) if self._catalog else None
        if target is None:
            raise ModelNotFound(f"No model is named {name}. See GET /v1/models.", param="model")
        if target.upstream is not None:
            raise InvalidRequest(
                f"{name} is served by an outside provider: nothing of it is started, stopped or removed here.",
                param="model",
            )
        return target
