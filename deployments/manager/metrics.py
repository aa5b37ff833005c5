"""What the manager counts, and what gateways tell it of their counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from catalog.gpus import GpuShape
from catalog.replicas import ColdStart
from deployments.manager.keeper import VariantKeeper
from deployments.manager.store import Kind, Store
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot, counted, from_json, merged, snapshot, to_json, update

logger = logging.getLogger("ray.serve")

GONE_AFTER_S = 15 * PUSH_INTERVAL_S
_STEP_S = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200)
# More gateways than are paused at one time, few enough to be written as one record.
MAX_ENDED_APART = 16
_ENDED = "ended_gateways"


class _Told(NamedTuple):
    """What a gateway has told last, and when."""

    at_s: float
    number: int
    counts: Snapshot


class FleetCounts:
    """The counts of gateways by their id; what those that have ended counted is kept in the store.

    A gateway that is silent counts as ended, but may only have been paused, or this process was. So the last ones that
    ended are kept apart, and one that is heard again takes its own place: counted twice it would double the totals.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._begun_s = clock()
        self._gateways: dict[str, _Told] = {}
        self._ended: dict[str, Snapshot] = {}
        self._long_ended: Snapshot = {}

    async def restore(self) -> None:
        """Take over what the store holds."""
        record = (await self._store.read(Kind.METRICS)).get(_ENDED, [{}, []])
        try:
            ended, long_ended = record
            self._ended = {gateway: from_json(counts) for gateway, counts in ended.items()}
            self._long_ended = from_json(long_ended)
        except (AttributeError, TypeError, ValueError):
            self._ended, self._long_ended = {}, {}
            logger.warning("the store's record of ended gateways' metrics is unreadable; counting from zero")

    def take(self, gateway: str, number: int, counts: Snapshot, *, is_whole: bool = True) -> bool:
        """Note what a gateway has counted, or with `is_whole` off, what of it has changed. False: it must say all.

        `number` grows with each call of a gateway; one that comes late is dropped, for its counts are older.
        """
        known = self._gateways.get(gateway)
        if known is not None and number < known.number:
            return True
        if not is_whole:
            if known is None:
                return False
            update(known.counts, counts)
            counts = known.counts
        self._gateways[gateway] = _Told(self._clock(), number, counts)
        self._ended.pop(gateway, None)
        return True

    async def forget_gone(self) -> None:
        """Keep the counts of gateways that are heard no more. Raises StoreUnavailable."""
        now_s = self._clock()
        gone = {id: told for id, told in self._gateways.items() if now_s - told.at_s > GONE_AFTER_S}
        if not gone:
            return
        ended = self._ended | {id: counted(told.counts) for id, told in gone.items()}
        long_ended = self._long_ended
        while len(ended) > MAX_ENDED_APART:
            long_ended = merged([long_ended, ended.pop(next(iter(ended)))])
        record = [{id: to_json(counts) for id, counts in ended.items()}, to_json(long_ended)]
        await self._store.put(Kind.METRICS, _ENDED, record)
        for id, told in gone.items():
            # What was heard while the store wrote is newer.
            if self._gateways[id] is told:
                del self._gateways[id]
        self._long_ended = long_ended
        self._ended = {id: counts for id, counts in ended.items() if id not in self._gateways}

    def total(self) -> Snapshot | None:
        """The sum of what all have counted; None while gateways may not have told yet."""
        if self._clock() - self._begun_s < 2 * PUSH_INTERVAL_S:
            return None
        return merged([self._long_ended, *self._ended.values(), *(told.counts for told in self._gateways.values())])


class ManagerMetrics:
    """Cold starts, replicas and GPU time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at_s = clock()
        self._seen: dict[str, float] = {}
        self._registry = CollectorRegistry()
        self._starts = Counter("cold_starts", "Starts of models that took place.", ("model",), registry=self._registry)
        self._steps = Histogram(
            "cold_start_step_seconds", "Time of each step of a start; `total` is from request to ready.",
            ("model", "step"), buckets=_STEP_S, registry=self._registry,
        )  # fmt: skip
        self._replicas = Gauge("model_replicas", "Replicas by state.", ("model", "state"), registry=self._registry)
        self._gpu_seconds = Counter(
            "gpu_seconds", "GPUs held by a model's replicas, times seconds.", ("model", "gpu"), registry=self._registry
        )

    def tick(self, keepers: Iterable[VariantKeeper]) -> None:
        """Count starts, replicas and GPU time since the last tick."""
        now_s = self._clock()
        passed_s, self._at_s = now_s - self._at_s, now_s
        self._replicas.clear()
        for keeper in keepers:
            spec, start = keeper.spec, keeper.last_start
            if start is not None and self._seen.get(spec.key) != start.at_s:
                self._seen[spec.key] = start.at_s
                self._note_start(spec.model, start)
            if not keeper.replicas:
                continue
            shape = GpuShape.parse(spec.settings.shape)
            num_gpus = shape.count * (spec.settings.gpu_fraction or 1)
            for replica in keeper.replicas.values():
                self._replicas.labels(spec.model, str(replica.state)).inc()
                if num_gpus and not replica.is_asleep:
                    self._gpu_seconds.labels(spec.model, shape.type).inc(num_gpus * passed_s)

    def _note_start(self, model: str, start: ColdStart) -> None:
        self._starts.labels(model).inc()
        self._steps.labels(model, "total").observe(start.total_s)
        for step, seconds in start.steps_s.items():
            self._steps.labels(model, step).observe(seconds)

    def snapshot(self) -> Snapshot:
        """What was counted since this manager runs."""
        return snapshot(self._registry)
