"""What this gateway knows of the fleet: catalog, replicas and variants' states, kept fresh by the manager."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any, TypeVar

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from autoscaling.choice import Reason
from catalog.catalog import AdapterSpec, Catalog, VariantSpec
from catalog.errors import GatewayNotReady, ModelLoading, RaymuxError
from catalog.replicas import ReplicaReport, ReplicaState, VariantState, VariantStatus
from catalog.warmups import Warmup
from deployments.background import Background
from deployments.garbage import spare_what_stays
from deployments.gateway.exchange import Exchange
from deployments.gateway.lookout import Lookout, Prompt
from deployments.gateway.watchdog import Watchdog
from deployments.manager.view import FleetView, Placed, unpacked
from router.replicas import choose_replica, load_of

logger = logging.getLogger("ray.serve")

_T = TypeVar("_T")

RETRY_INTERVAL_S = 0.5
RELIEF_INTERVAL_S = 2.0
SEEN_TIMEOUT_S = 2.0
MANAGER_ATTEMPTS = 3
# What a late answer has put back, or a change that was not noted, is mended after this long.
WHOLE_INTERVAL_S = 60.0
# About a hundred models: loaded within a millisecond or two.
SMALL_CATALOG_BYTES = 32 * 1024


class Fleet:
    """The gateway's replica registry, and its line to the manager."""

    def __init__(self, manager: DeploymentHandle) -> None:
        self._manager = manager
        self._catalog: Catalog | None = None
        self._replicas: dict[str, dict[str, ReplicaReport]] = {}
        self._unreachable: dict[str, float] = {}
        self._ongoing: Counter[str] = Counter()
        self._starts: dict[tuple[Any, ...], asyncio.Task[Placed | RaymuxError]] = {}
        self._reliefs: dict[tuple[str, ...], float] = {}
        self._background = Background()
        # Gateways that started together would otherwise take the same turns.
        self._turns = itertools.count(random.randrange(1_000_000))
        self._lookout = Lookout()
        self._name = uuid.uuid4().hex
        self.statuses: dict[str, VariantStatus] = {}
        # Grows with each change of the catalog or of a variant's state.
        self.states_version = 0
        self.promoted: frozenset[str] = frozenset()
        self.warmups: dict[str, Warmup] = {}
        self.seen_manager_at_s = 0.0
        self._has_news = asyncio.Event()
        self.watchdog = Watchdog(self._is_known)
        self._listeners: list[Callable[[], None]] = []
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

    def on_news(self, listener: Callable[[], None]) -> None:
        """Call it whenever replicas, variants or the catalog may have changed."""
        self._listeners.append(listener)

    def ready(self, variant: VariantSpec) -> list[ReplicaReport]:
        """The replicas of a variant that take requests, as far as this gateway knows."""
        known = self._replicas.get(variant.key, {}).values()
        return [replica for replica in known if replica.is_ready and replica.replica_id not in self._unreachable]

    def num_ongoing(self, replica: ReplicaReport) -> int:
        """Requests that this gateway has under way there."""
        return self._ongoing[replica.replica_id]

    def choose(
        self,
        variant: VariantSpec,
        adapter: AdapterSpec | None,
        blocked: Container[str] = (),
        prompt: Prompt | None = None,
    ) -> ReplicaReport | None:
        """A replica that can serve the request now, or None. Those in `blocked` do not count.

        With a prompt it is the one whose answer should begin first, else the one with the least ongoing work.
        """
        known = self._replicas.get(variant.key, {})
        is_choice = prompt is not None and len(known) > 1
        return choose_replica(
            [report for replica_id, report in known.items() if replica_id not in blocked]
            if blocked
            else known.values(),
            self._ongoing,
            adapter=adapter.name if adapter else None,
            excluded=self._unreachable,
            turn=next(self._turns),
            estimate=self._lookout.estimator(prompt, adapter) if is_choice and prompt else None,
            max_ongoing=variant.settings.target_ongoing_requests,
            max_adapters=variant.adapters.max_adapters_per_replica if variant.adapters else 0,
        )

    def followed(
        self, replica: ReplicaReport, prompt: Prompt | None, adapter: AdapterSpec | None, exchange: Exchange
    ) -> AbstractContextManager[None]:
        """Learn from how a request to the replica fares while the block runs, unless the replica is the only one."""
        if prompt is None or len(self._replicas.get(replica.variant, ())) < 2:
            return nullcontext()
        return self._lookout.following(replica, prompt, adapter, exchange)

    def expectations(self, replica: ReplicaReport) -> dict[str, float] | None:
        """What this gateway expects of a replica, for operators; None where it has had nothing to choose."""
        return self._lookout.describe(replica)

    def warm(
        self,
        variants: tuple[VariantSpec, ...],
        adapter: AdapterSpec | None,
        *,
        in_order: bool = False,
        blocked: Container[str] = (),
        prompt: Prompt | None = None,
    ) -> Placed | None:
        """A replica that can serve the request now, of the first variant that has room, else of the first that is warm.

        With `in_order` only the first variant counts: whether a later one may serve depends on whether the first can be
        had, which the manager knows. Replicas in `blocked` do not count. Returns None when none is warm.
        """
        full: Placed | None = None
        for variant in variants[:1] if in_order else variants:
            replica = self.choose(variant, adapter, blocked, prompt)
            if replica is None:
                continue
            if load_of(replica, self._ongoing) < variant.settings.target_ongoing_requests:
                return Placed(replica, Reason.WARM)
            full = full or Placed(replica, Reason.FULL)
        return None if in_order and len(variants) > 1 else full

    def starting(self, variants: tuple[VariantSpec, ...]) -> VariantStatus | None:
        """The status of the variant that starts, else of the first one."""
        statuses = [status for variant in variants if (status := self.statuses.get(variant.key))]
        states = (VariantState.STARTING, VariantState.SCHEDULING)
        return next((status for status in statuses if status.state in states), statuses[0] if statuses else None)

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

    def _is_known(self, replica_id: str) -> bool:
        return any(replica_id in replicas for replicas in self._replicas.values())

    def mark_unreachable(self, replica: ReplicaReport) -> None:
        """Offer the replica no more until it reports again."""
        self._unreachable[replica.replica_id] = time.time()

    def start(
        self, variants: tuple[VariantSpec, ...], adapter: AdapterSpec | None, *, in_order: bool = False
    ) -> asyncio.Task[Placed | RaymuxError]:
        """Have the manager bring up a replica of one of these. Who needs the same shares one task: shield it."""
        keys = tuple(variant.key for variant in variants)
        wish = (keys, adapter.name if adapter else "", in_order)
        task = self._starts.get(wish)
        if task is None:
            task = asyncio.create_task(self._ensure(keys, adapter, in_order))
            self._starts[wish] = task
            task.add_done_callback(lambda _: self._starts.pop(wish, None))
        return task

    async def _ensure(self, keys: tuple[str, ...], adapter: AdapterSpec | None, in_order: bool) -> Placed | RaymuxError:
        # The manager may not have heard yet of what this gateway has met: a dead replica, or one that drains.
        suspects = tuple(
            replica.replica_id
            for key in keys
            for replica in self.replicas(key)
            if replica.replica_id in self._unreachable or replica.state is ReplicaState.DRAINING
        )
        for _ in range(MANAGER_ATTEMPTS):
            try:
                outcome = await self._manager.ensure.remote(keys, adapter, suspects, in_order=in_order)
            except RayError as error:
                # The manager died under the call; Serve restarts it, and the next call waits for it.
                logger.warning("the model manager broke off: %s", type(error).__name__)
                await asyncio.sleep(RETRY_INTERVAL_S)
                continue
            if isinstance(outcome, Placed):
                self._take(outcome.replica)
                self._take_status(outcome.status)
            return outcome
        return ModelLoading("The model could not be started just now; try again.", retry_after_s=5)

    def relieve(self, variants: tuple[VariantSpec, ...]) -> None:
        """Tell the manager that these are full, or that one stands in for another. At most once in two seconds."""
        keys, now_s = tuple(variant.key for variant in variants), time.monotonic()
        if self._reliefs.get(keys, 0.0) > now_s:
            return
        self._reliefs[keys] = now_s + RELIEF_INTERVAL_S
        self._background.start(self._relieve(keys))

    async def _relieve(self, keys: tuple[str, ...]) -> None:
        with suppress(RaymuxError):
            await self.ask(self._manager.relieve.remote(keys))

    def _take(self, report: ReplicaReport) -> None:
        if report.sent_at_s > self._unreachable.get(report.replica_id, 0.0):
            self._unreachable.pop(report.replica_id, None)
        self._replicas.setdefault(report.variant, {})[report.replica_id] = report

    def _take_status(self, status: VariantStatus | None) -> None:
        """Note what came with a replica, unless there is news since: a status read after an answer is as new."""
        if status is None:
            return
        known = self.statuses.get(status.variant)
        if known is not None and status.since_s < known.since_s:
            return
        if _is_new_state(self.statuses, status):
            self.states_version += 1
        self.statuses[status.variant] = status

    def mark_draining(self, replica: ReplicaReport) -> None:
        """The replica has said that it leaves; it may have left by now."""
        if replica.replica_id in self._replicas.get(replica.variant, {}):
            self._take(replace(replica, state=ReplicaState.DRAINING))

    async def _watch(self) -> None:
        """Follow the manager for ever; while it is away, what was known last stays in use."""
        version = catalog_version = 0
        whole_at_s = time.monotonic()
        while True:
            if time.monotonic() - whole_at_s > WHOLE_INTERVAL_S:
                version = 0
            try:
                sent = self._lookout.take_sent()
                view: FleetView = await self._manager.watch.remote(version, catalog_version, self._name, sent)
                self._apply(view, await _load(view.catalog) if view.catalog is not None else None)
                version, catalog_version = view.version, view.catalog_version
                whole_at_s = time.monotonic() if view.is_whole else whole_at_s
            except Exception as error:
                logger.warning("the model manager does not answer: %s", type(error).__name__)
                await asyncio.sleep(RETRY_INTERVAL_S)

    def _apply(self, view: FleetView, catalog: Catalog | None) -> None:
        if catalog is not None:
            self._catalog = catalog
        has_lost = view.is_whole and len(view.variants) < len(self.statuses)
        if catalog is not None or has_lost or any(_is_new_state(self.statuses, status) for status in view.variants):
            self.states_version += 1
        if view.is_whole:
            self._replicas, self.statuses = {}, {}
        for status in view.variants:
            self._replicas.pop(status.variant, None)
            self.statuses[status.variant] = status
        for report in view.replicas:
            self._take(report)
        known = {id: report for replicas in self._replicas.values() for id, report in replicas.items()}
        self._lookout.heard(known.values())
        self._lookout.has_others = view.num_gateways > 1
        for sent in view.sent:
            if (report := known.get(sent.replica_id)) is not None:
                self._lookout.told(report, sent)
        self.watchdog.heard(known.keys())
        self._unreachable = {id: at_s for id, at_s in self._unreachable.items() if id in known}
        if view.promoted is not None:
            self.promoted = view.promoted
        if view.warmups is not None:
            self.warmups = {warmup.id: warmup for warmup in view.warmups}
        self.seen_manager_at_s = time.time()
        self._has_news.set()
        for listener in self._listeners:
            listener()

    async def ask(self, call: Awaitable[_T | RaymuxError]) -> _T:
        """What a call to the manager returned. Raises a RaymuxError that it returned, or ModelLoading if it broke."""
        try:
            outcome = await call
        except RayError as error:
            logger.warning("the model manager broke off: %s", type(error).__name__)
            raise ModelLoading("The model manager is restarting; try again.", retry_after_s=2) from None
        if isinstance(outcome, RaymuxError):
            raise outcome
        return outcome

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return once news from the manager make it so, or after SEEN_TIMEOUT_S: a caller reads what it has written."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SEEN_TIMEOUT_S):
                while not is_so():
                    self._has_news.clear()
                    await self._has_news.wait()


def _is_new_state(statuses: Mapping[str, VariantStatus], status: VariantStatus) -> bool:
    known = statuses.get(status.variant)
    return known is None or known.state is not status.state


async def _load(packed: bytes) -> Catalog:
    """The catalog. A large one in a thread: it takes up to seconds, for which streams cannot wait."""
    return _loaded(packed) if len(packed) <= SMALL_CATALOG_BYTES else await asyncio.to_thread(_loaded, packed)


def _loaded(packed: bytes) -> Catalog:
    catalog = Catalog(unpacked(packed))
    spare_what_stays()
    return catalog
