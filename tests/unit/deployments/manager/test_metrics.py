"""Totals of all gateways: no count is lost with a gateway, and none is counted twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from catalog.replicas import ColdStart, ReplicaState
from deployments.manager.metrics import GONE_AFTER_S, FleetCounts, ManagerMetrics
from deployments.manager.store import Kind, Store
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot, snapshot
from tests.unit.builders import report, variant


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "raymux.db")


@pytest.fixture
def fleet(store: Store, clock: Clock) -> FleetCounts:
    return FleetCounts(store, clock)


def counts(requests: float, waiting: float = 0) -> Snapshot:
    registry = CollectorRegistry()
    Counter("requests", "Requests.", registry=registry).inc(requests)
    Gauge("waiting", "Waiting.", registry=registry).set(waiting)
    return snapshot(registry)


def total(snapshot: Snapshot | None, name: str = "requests_total") -> float | None:
    if snapshot is None:
        return None
    return sum(value for family in snapshot.values() for key, value in family.samples.items() if key[0] == name)


async def test_a_gateway_is_told_what_the_others_counted(fleet: FleetCounts, clock: Clock) -> None:
    fleet.take("a", counts(5))
    fleet.take("b", counts(7))
    fleet.take("b", counts(8))
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert total(fleet.others("a")) == 8
    assert total(fleet.others("b")) == 5
    assert total(fleet.others("newcomer")) == 13


async def test_a_gateway_that_ends_takes_no_count_with_it(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    fleet.take("a", counts(5, waiting=3))
    clock.now_s += GONE_AFTER_S - 1
    fleet.take("b", counts(7))
    await fleet.forget_gone()
    assert total(fleet.others("b")) == 5
    clock.now_s += 2
    await fleet.forget_gone()
    assert total(fleet.others("b")) == 5
    assert total(fleet.others("b"), "waiting") == 0
    restarted = FleetCounts(store, clock)
    await restarted.restore()
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert total(restarted.others("b")) == 5


async def test_a_new_manager_does_not_answer_before_gateways_have_told(fleet: FleetCounts, clock: Clock) -> None:
    assert fleet.others("a") is None
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert fleet.others("a") == {}


async def test_a_gateway_that_the_manager_does_not_know_must_say_all(fleet: FleetCounts, clock: Clock) -> None:
    assert not fleet.take("a", None)
    assert fleet.take("a", counts(5))
    assert fleet.take("a", None)
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert total(fleet.others("b")) == 5


async def test_an_unreadable_record_counts_from_zero(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    await store.put(Kind.METRICS, "ended_gateways", [["x"]])
    await fleet.restore()
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert fleet.others("a") == {}


def keeper(start: ColdStart | None = None, shape: str = "CPU", *replicas: Any) -> Any:
    return SimpleNamespace(
        spec=variant(shape=shape), last_start=start, replicas={each.replica_id: each for each in replicas}
    )


def test_each_start_is_counted_once_and_by_its_steps(clock: Clock) -> None:
    metrics = ManagerMetrics(clock)
    first = ColdStart(1.0, 30.0, {"scheduling": 2.0, "importing": 12.0})
    for _ in range(3):
        metrics.tick([keeper(first)])
    metrics.tick([keeper(ColdStart(50.0, 10.0, {"scheduling": 1.0}))])
    assert total(metrics.snapshot(), "cold_starts_total") == 2
    steps = metrics.snapshot()["cold_start_step_seconds"].samples
    sums = {dict(labels)["step"]: value for (name, labels), value in steps.items() if name.endswith("_sum")}
    assert sums == {"total": 40.0, "scheduling": 3.0, "importing": 12.0}


def test_gpu_time_is_that_of_the_replicas_that_hold_gpus(clock: Clock) -> None:
    metrics = ManagerMetrics(clock)
    replicas = [report("r1"), report("r2", is_asleep=True), report("r3", ReplicaState.DRAINING)]
    for _ in range(3):
        clock.now_s += 10
        metrics.tick([keeper(None, "H100:4", *replicas), keeper(None, "CPU", report("r4"))])
    assert total(metrics.snapshot(), "gpu_seconds_total") == 4 * 2 * 30
    assert total(metrics.snapshot(), "model_replicas") == 4
