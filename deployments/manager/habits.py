"""What each model's traffic has been, and what follows from it: how long it is kept idle, and when it is started ahead.

The decisions are those of `autoscaling.keep_alive` and `autoscaling.prewarm`; here are the histories they read, which
the store keeps.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from autoscaling.history import ArrivalHistory, seen
from autoscaling.keep_alive import KeepAliveRules, idle_timeout_s
from autoscaling.prewarm import is_expected
from catalog.catalog import Catalog, Target, VariantSpec
from catalog.gpus import GpuShape
from deployments.manager.keepers import Keepers
from deployments.manager.store import Kind, Store

SAVE_INTERVAL_S = 60.0
# What one may spend to spare a request a cold start: 50 minutes of one GPU (docs/autoscaling.md).
LATE_REQUEST_GPU_S = 3000.0


class Habits:
    """Histories of arrivals by model."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._histories: dict[str, ArrivalHistory] = {}
        self._unsaved: set[str] = set()
        self._saved_at_s = time.time()

    async def restore(self) -> None:
        """Take over what the store holds."""
        records: dict[str, Any] = await self._store.read(Kind.HISTORY)
        self._histories = {model: ArrivalHistory(**record) for model, record in records.items()}

    async def save(self, now_s: float) -> None:
        """Write down what is new, once a minute: a minute of history is no loss. Raises StoreUnavailable."""
        if now_s - self._saved_at_s < SAVE_INTERVAL_S:
            return
        self._saved_at_s = now_s
        while self._unsaved:
            model = next(iter(self._unsaved))
            await self._store.put(Kind.HISTORY, model, self._histories[model]._asdict())
            self._unsaved.discard(model)

    async def forget(self, kept: Iterable[str]) -> None:
        """Drop the histories of models that have left the catalog."""
        for model in self._histories.keys() - set(kept):
            del self._histories[model]
            self._unsaved.discard(model)
            await self._store.delete(Kind.HISTORY, model)

    def note_use(self, model: str, at_s: float) -> None:
        """A request of the model ran at this time, seconds since the epoch."""
        history = self._histories.get(model, ArrivalHistory())
        if history.last_seen_s is None or at_s > history.last_seen_s:
            self._histories[model] = seen(history, at_s)
            self._unsaved.add(model)

    def idle_timeout_s(self, spec: VariantSpec, start_s: float) -> float:
        """After how long without a request the variant's last replica goes; `start_s` is what its start takes."""
        lifecycle = spec.lifecycle
        if lifecycle.min_idle_timeout_s is None:
            return lifecycle.idle_timeout_s
        return idle_timeout_s(self._histories.get(spec.model, ArrivalHistory()), _rules(spec, start_s))

    def is_expected(self, spec: VariantSpec, start_s: float, now_s: float, *, is_warm: bool) -> bool:
        """Whether the model should be ready for what its past days make likely."""
        if not spec.lifecycle.prewarm:
            return False
        history = self._histories.get(spec.model, ArrivalHistory())
        return is_expected(history, _rules(spec, start_s), now_s, is_warm=is_warm)

    def expected(self, catalog: Catalog, keepers: Keepers, now_s: float) -> Iterator[Target]:
        """The cold models that should be started for what their past days make likely."""
        for target in catalog.targets():
            if target.upstream is not None or target.adapter is not None or not target.lifecycle.prewarm:
                continue
            first = keepers.of(target)[0]
            if not keepers.is_up(target) and self.is_expected(first.spec, first.expected_start_s, now_s, is_warm=False):
                yield target


def _rules(spec: VariantSpec, start_s: float) -> KeepAliveRules:
    lifecycle = spec.lifecycle
    least_s = lifecycle.min_idle_timeout_s if lifecycle.min_idle_timeout_s is not None else lifecycle.idle_timeout_s
    num_gpus = GpuShape.parse(spec.settings.shape).count
    return KeepAliveRules(least_s, lifecycle.idle_timeout_s, start_s, LATE_REQUEST_GPU_S, max(1, num_gpus))
