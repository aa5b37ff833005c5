"""What the manager does every second, whoever asks for what."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from catalog.catalog import Catalog, Target
from catalog.errors import StoreUnavailable
from deployments.manager.habits import Habits
from deployments.manager.keepers import Keepers
from deployments.manager.metrics import FleetCounts, ManagerMetrics
from deployments.manager.warmups import Warmups, scheduled

logger = logging.getLogger("ray.serve")

INTERVAL_S = 1.0
PAUSED_S = 3.0


class Housekeeping:
    """Forgets silent replicas, follows starts and warm-ups, saves what was learned, and starts models beforehand.

    `catalog` gives the one in force, and `start` starts a model without waiting.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        keepers: Keepers,
        warmups: Warmups,
        habits: Habits,
        counts: FleetCounts,
        metrics: ManagerMetrics,
        start: Callable[[Target], None],
    ) -> None:
        self._catalog = catalog
        self._keepers = keepers
        self._warmups = warmups
        self._habits = habits
        self._counts = counts
        self._metrics = metrics
        self._start = start

    async def run(self) -> None:
        """Keep house for ever."""
        while True:
            begun_s = time.monotonic()
            await asyncio.sleep(INTERVAL_S)
            # After a pause of this process, or of the machine, everybody seems to have been silent.
            if time.monotonic() - begun_s < PAUSED_S:
                await self._keepers.forget_silent()
            await self._keepers.end_unplaced()
            self._metrics.tick(self._keepers)
            self.prewarm(time.time())
            try:
                await self._warmups.follow(scheduled(self._catalog(), time.time()))
                await self._warmups.tick(time.time(), self._keepers.is_ready)
                await self._habits.save(time.time())
                await self._counts.forget_gone()
            except StoreUnavailable:
                # The store has logged it; the next tick tries again.
                continue

    async def follow_decisions(self) -> None:
        """Read what Serve's autoscaler has decided, for ever; apart from the rest, which must not wait for it."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            for keeper in list(self._keepers):
                await keeper.read_decisions(time.monotonic())

    def prewarm(self, now_s: float) -> None:
        """Start models whose past days make requests likely soon, each on the variant that `auto` takes."""
        for target in self._habits.expected(self._catalog(), self._keepers, now_s):
            logger.info("%s is started ahead of requests that its past days make likely", target.name)
            self._start(target)
