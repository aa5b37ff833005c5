"""Totals of all gateways: no count is lost with a gateway, and none is counted twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from catalog.errors import StoreUnavailable
from catalog.replicas import ColdStart, ReplicaState
from deployments.manager.metrics import GONE_AFTER_S, MAX_ENDED_APART, FleetCounts, ManagerMetrics
from deployments.manager.store import Kind, Store
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot, snapshot
from tests.unit.builders import Clock, report, variant


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


async def test_the_total_is_the_sum_of_what_each_gateway_told_last(fleet: FleetCounts, clock: Clock) -> None:
    fleet.take("a", 0, counts(5))
    fleet.take("b", 0, counts(7))
    fleet.take("b", 1, counts(8))
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert total(fleet.total()) == 13


async def test_an_older_count_that_comes_late_changes_nothing(fleet: FleetCounts, clock: Clock) -> None:
    clock.now_s += 2 * PUSH_INTERVAL_S
    fleet.take("a", 4, counts(9))
    assert fleet.take("a", 3, counts(5))
    assert total(fleet.total()) == 9


async def test_a_gateway_that_ends_takes_no_count_with_it(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    fleet.take("a", 0, counts(5, waiting=3))
    clock.now_s += GONE_AFTER_S - 1
    fleet.take("b", 0, counts(7))
    await fleet.forget_gone()
    assert total(fleet.total(), "waiting") == 3
    clock.now_s += 2
    await fleet.forget_gone()
    assert total(fleet.total()) == 12
    assert total(fleet.total(), "waiting") == 0
    assert total(await restarted(store, clock)) == 5


async def restarted(store: Store, clock: Clock, **told: Snapshot) -> Snapshot | None:
    """The total of a new manager that gateways have told so much."""
    fleet = FleetCounts(store, clock)
    await fleet.restore()
    for gateway, each in told.items():
        fleet.take(gateway, 0, each)
    clock.now_s += 2 * PUSH_INTERVAL_S
    return fleet.total()


async def test_gateways_that_were_only_silent_are_counted_once(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    """As after a pause of the manager's process, when everybody seems to have been silent."""
    fleet.take("a", 0, counts(1_000))
    fleet.take("b", 0, counts(500))
    clock.now_s += GONE_AFTER_S + 1
    await fleet.forget_gone()
    assert total(fleet.total()) == 1_500
    assert not fleet.take("a", 1, {}, is_whole=False)
    assert fleet.take("a", 2, counts(1_001))
    assert total(fleet.total()) == 1_501
    assert total(await restarted(store, clock, a=counts(1_001))) == 1_501
    fleet.take("b", 1, counts(500))
    assert total(fleet.total()) == 1_501


async def test_a_gateway_heard_while_its_end_is_written_is_counted_once(
    fleet: FleetCounts, clock: Clock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    async def put_and_hear(*record: Any) -> None:
        await put(*record)
        fleet.take("a", 1, counts(6))

    monkeypatch.setattr(store, "put", put_and_hear)
    fleet.take("a", 0, counts(5))
    clock.now_s += GONE_AFTER_S + 1
    await fleet.forget_gone()
    assert total(fleet.total()) == 6


async def test_of_many_ended_gateways_every_count_stays(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    for number in range(3 * MAX_ENDED_APART):
        fleet.take(f"gateway-{number}", 0, counts(1))
        clock.now_s += GONE_AFTER_S + 1
        await fleet.forget_gone()
    assert total(fleet.total()) == 3 * MAX_ENDED_APART
    assert total(await restarted(store, clock)) == 3 * MAX_ENDED_APART


async def test_a_full_disk_loses_no_count(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    async def full(*_: Any) -> None:
        raise StoreUnavailable("full")

    fleet.take("a", 0, counts(5))
    clock.now_s += GONE_AFTER_S + 1
    store.put = full  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await fleet.forget_gone()
    assert total(fleet.total()) == 5


async def test_a_new_manager_does_not_answer_before_gateways_have_told(fleet: FleetCounts, clock: Clock) -> None:
    assert fleet.total() is None
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert fleet.total() == {}


async def test_a_gateway_that_the_manager_does_not_know_must_say_all(fleet: FleetCounts, clock: Clock) -> None:
    assert not fleet.take("a", 0, counts(4), is_whole=False)
    assert fleet.take("a", 1, counts(5))
    assert fleet.take("a", 2, {}, is_whole=False)
    clock.now_s += 2 * PUSH_INTERVAL_S
    assert total(fleet.total()) == 5


async def test_an_unreadable_record_counts_from_zero(fleet: FleetCounts, clock: Clock, store: Store) -> None:
    for record in ([["x"]], [["a", "counter"], ["b", "counter"]], [{"a": [1]}, []], 5):
        await store.put(Kind.METRICS, "ended_gateways", record)
        await fleet.restore()
        clock.now_s += 2 * PUSH_INTERVAL_S
        assert fleet.total() == {}


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
