"""Warm-ups: starts models that somebody wants ready, and keeps them so for as long as was asked.

A variant that a warm-up keeps is told to its replicas (`held_until_s`), which then do not count as idle; one that loses
its last replica meanwhile is started again. Warm-ups are stored, so they outlive the manager and the gateways.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from catalog.catalog import Catalog
from catalog.errors import InvalidRequest, RaymuxError, StoreUnavailable, WarmupNotFound
from catalog.warmups import Warmup, WarmupState
from deployments.manager.store import Kind, Store
from deployments.manager.view import Placed

MAX_ACTIVE = 1_000
# How long one that is over can still be asked for.
REMEMBERED_S = 3_600.0
# A variant that is starting for a warm-up is held this much beyond now, so that it cannot leave before it counts.
STARTING_HOLD_S = 30.0

Ensure = Callable[[Warmup], Awaitable[Placed | RaymuxError]]


def scheduled(catalog: Catalog, now_s: float) -> Iterator[Warmup]:
    """The warm-ups of the configuration whose window is open."""
    for schedule in catalog.settings.warmups:
        window, target = schedule.window(now_s), catalog.find(schedule.model)
        if window is None or target is None:
            continue
        variants = {variant.settings.shape: variant.key for variant in target.variants}
        yield Warmup(
            window.id,
            target.name,
            tuple(variants[shape] for shape in schedule.gpu_preference or variants),
            window.until_s - window.begun_s,
            window.begun_s,
            is_scheduled=True,
            is_in_order=bool(schedule.gpu_preference),
        )


class Warmups:
    """Owns every warm-up. `ensure` brings up a replica that serves one; `on_change` is told of every change."""

    def __init__(self, store: Store, ensure: Ensure, on_change: Callable[[], None]) -> None:
        self._store = store
        self._ensure = ensure
        self._on_change = on_change
        self._warmups: dict[str, Warmup] = {}
        self._starts: dict[str, asyncio.Task[None]] = {}

    async def restore(self) -> None:
        """Take over what the store holds; `tick` then goes on with it."""
        records: dict[str, Any] = await self._store.read(Kind.WARMUP)
        self._warmups = {id: Warmup.from_record(record) for id, record in records.items()}

    def all(self) -> tuple[Warmup, ...]:
        """Every warm-up that is known, oldest first."""
        return tuple(self._warmups.values())

    async def begin(
        self, model: str, variants: tuple[str, ...], keep_warm_s: float, *, in_order: bool = False
    ) -> Warmup:
        """Start one. Raises InvalidRequest when there are too many, or StoreUnavailable."""
        if sum(not warmup.is_over for warmup in self._warmups.values()) >= MAX_ACTIVE:
            raise InvalidRequest(f"{MAX_ACTIVE} warm-ups are active already; end one with DELETE /v1/warmup/<id>.")
        warmup = Warmup(f"warmup-{uuid.uuid4().hex}", model, variants, keep_warm_s, time.time(), is_in_order=in_order)
        await self._keep(warmup)
        self._start(warmup.id)
        return warmup

    async def follow(self, scheduled: Iterable[Warmup]) -> None:
        """Begin those of the windows that are open now which are not known yet. Raises StoreUnavailable."""
        for warmup in scheduled:
            if warmup.id not in self._warmups:
                await self._keep(warmup)
                self._start(warmup.id)

    async def end(self, id: str) -> Warmup:
        """End one before its time: its variant is no longer kept for it. Raises WarmupNotFound."""
        warmup = self.find(id)
        if not warmup.is_over:
            warmup = replace(warmup, ended_s=time.time())
            await self._keep(warmup)
            if (start := self._starts.get(id)) is not None:
                start.cancel()
        return warmup

    async def end_all(self, model: str) -> None:
        """End every warm-up of a model: it was stopped by hand, or has left the catalog."""
        for warmup in list(self._warmups.values()):
            if warmup.model == model and not warmup.is_over:
                await self.end(warmup.id)

    async def settled(self, id: str) -> Warmup:
        """The warm-up once it is ready or over."""
        start = self._starts.get(id)
        if start is not None:
            await asyncio.wait({start})
        return self.find(id)

    def find(self, id: str) -> Warmup:
        """Raises WarmupNotFound."""
        warmup = self._warmups.get(id)
        if warmup is None:
            raise WarmupNotFound("No warm-up has this id; one that is over is forgotten after an hour.", param="id")
        return warmup

    def keeps(self, model: str) -> bool:
        """Whether a warm-up of the model is not over."""
        return any(warmup.model == model and not warmup.is_over for warmup in self._warmups.values())

    def held_until_s(self, variant: str) -> float:
        """Until when replicas of the variant must not leave for being idle, seconds since the epoch; 0 if free to."""
        return max((_hold_s(warmup) for warmup in self._warmups.values() if variant in warmup.wanted), default=0.0)

    async def tick(self, now_s: float, is_ready: Callable[[str], bool]) -> None:
        """Go on with every warm-up: end those whose time is over, start again what is not ready, forget the old."""
        for warmup in list(self._warmups.values()):
            if warmup.is_over:
                # One of a window that is still open must not begin anew.
                over_s = max(warmup.ended_s or warmup.created_s, (warmup.is_scheduled and warmup.keep_until_s) or 0.0)
                if over_s + REMEMBERED_S < now_s:
                    await self._store.delete(Kind.WARMUP, warmup.id)
                    del self._warmups[warmup.id]
            elif warmup.keep_until_s is not None and warmup.keep_until_s <= now_s:
                await self._keep(replace(warmup, ended_s=now_s))
            elif warmup.ready_s is None or not any(map(is_ready, warmup.wanted)):
                self._start(warmup.id)

    def _start(self, id: str) -> None:
        if id in self._starts:
            return
        start = asyncio.create_task(self._run(id))
        self._starts[id] = start
        start.add_done_callback(lambda _: self._starts.pop(id, None))

    async def _run(self, id: str) -> None:
        try:
            await self._bring_up(id)
        except StoreUnavailable:
            # The store has logged it, and `tick` tries again.
            return

    async def _bring_up(self, id: str) -> None:
        outcome = await self._ensure(self._warmups[id])
        warmup = self._warmups[id]
        if warmup.is_over:
            return
        if isinstance(outcome, Placed):
            ready_s = warmup.ready_s if warmup.ready_s is not None else time.time()
            variant = outcome.replica.variant
            if (variant, ready_s) != (warmup.variant, warmup.ready_s):
                await self._keep(replace(warmup, variant=variant, ready_s=ready_s))
        elif warmup.state is WarmupState.STARTING and not warmup.is_scheduled:
            await self._keep(replace(warmup, error=outcome.message, ended_s=time.time()))
        # One that was ready before, or whose window is open, is tried again by `tick` for as long as it lasts.

    async def _keep(self, warmup: Warmup) -> None:
        await self._store.put(Kind.WARMUP, warmup.id, asdict(warmup))
        self._warmups[warmup.id] = warmup
        self._on_change()


def _hold_s(warmup: Warmup) -> float:
    if warmup.is_over:
        return 0.0
    return warmup.keep_until_s or time.time() + STARTING_HOLD_S
