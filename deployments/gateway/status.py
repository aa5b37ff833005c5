"""`GET /v1/status`: how each variant fares."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from catalog.catalog import Catalog
from catalog.keys import Caller
from catalog.replicas import ReplicaReport, VariantStatus
from deployments.gateway.fleet import Fleet


class StatusPage:
    """The page as JSON. `num_queued` tells the waiting requests of each model.

    Most of a thousand variants rest: of those only the time since their last change is new each time.
    """

    def __init__(self, fleet: Fleet, num_queued: Callable[[], Mapping[str, int]]) -> None:
        self._fleet = fleet
        self._num_queued = num_queued
        self._catalog: Catalog | None = None
        # Of variants without replicas, the JSON up to that time, valid for the very status it was made of.
        self._resting: dict[str, tuple[VariantStatus, bytes]] = {}

    def body(self, caller: Caller) -> bytes:
        """What the caller may see. Raises GatewayNotReady."""
        catalog = self._fleet.catalog
        if catalog is not self._catalog:
            self._catalog = catalog
            self._resting.clear()
        queued, now_s = self._num_queued(), time.time()
        variants = (
            self._variant(key, model, shape, queued.get(model, 0), now_s)
            for key in catalog.variants
            for model, _, shape in (key.rpartition("@"),)
            if caller.may_use(model)
        )
        return b'{"object": "status", "variants": [' + b", ".join(variants) + b"]}"

    def _variant(self, key: str, model: str, shape: str, num_queued: int, now_s: float) -> bytes:
        replicas, status = self._fleet.replicas(key), self._fleet.statuses.get(key)
        if status is None or replicas or num_queued or status.retry_at_s is not None:
            entries = [_replica(report, self._fleet.expectations(report)) for report in replicas]
            return json.dumps(_entry(model, shape, num_queued, status, entries, now_s)).encode()
        known = self._resting.get(key)
        if known is None or known[0] is not status:
            entry = _entry(model, shape, num_queued, status, [], now_s)
            del entry["since_s"]
            known = self._resting[key] = status, json.dumps(entry).encode()[:-1] + b', "since_s": '
        return b"%b%.1f}" % (known[1], now_s - status.since_s)


def _entry(
    model: str, shape: str, num_queued: int, status: VariantStatus | None, replicas: list[dict[str, Any]], now_s: float
) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": model, "variant": shape, "state": "cold", "replicas": replicas}
    # Those of its model, in this gateway; which variant takes them is decided when it is their turn.
    entry["num_queued"] = num_queued
    if status is None:
        return entry
    return entry | {
        "state": str(status.state),
        "step": status.step and str(status.step),
        "expected_start_s": status.expected_start_s,
        "num_starts": status.num_starts,
        "chosen_because": status.chosen_because or None,
        "decisions": [decision._asdict() for decision in status.decisions],
        "last_cold_start": status.last_start and dataclasses.asdict(status.last_start),
        "last_error": status.last_error or None,
        "retry_in_s": _seconds_until(status.retry_at_s, now_s) if status.retry_at_s else None,
        "num_running": sum(replica["running"] for replica in replicas),
        "num_waiting": sum(replica["waiting"] for replica in replicas),
        "since_s": round(now_s - status.since_s, 1),
    }


def _seconds_until(at_s: float, now_s: float) -> float:
    """Tenths of a second, rounded up: 0 only when the time has come."""
    return math.ceil(max(0.0, at_s - now_s) * 10) / 10


def _replica(report: ReplicaReport, expected: dict[str, float] | None) -> dict[str, Any]:
    """A replica for operators; its address and secret stay inside the cluster.

    `expected` is what this gateway goes by when it chooses; null where it has had nothing to choose.
    """
    return {
        "id": report.replica_id,
        "state": str(report.state),
        "step": report.step and str(report.step),
        "node": report.node,
        "pid": report.pid,
        "running": report.running,
        "waiting": report.waiting,
        "kv_usage_ratio": round(report.kv_usage_ratio, 4),
        "adapters": list(report.adapters),
        "is_asleep": report.is_asleep,
        "expected": expected,
    }
