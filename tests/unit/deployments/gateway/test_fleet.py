from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from ray.exceptions import RayError

from autoscaling.choice import Reason
from catalog.errors import GatewayNotReady, ModelFailed, RaymuxError
from catalog.replicas import ReplicaReport, ReplicaState, VariantState
from deployments.gateway import fleet as fleet_module
from deployments.gateway.fleet import MANAGER_ATTEMPTS, Fleet
from deployments.manager.view import Placed
from tests.unit.builders import (
    CHAT,
    PIRATE,
    FakeManager,
    adapter,
    catalog_settings,
    report,
    settle,
    status,
    until,
    variant,
)


@pytest.fixture
async def manager() -> FakeManager:
    return FakeManager()


@pytest.fixture
async def fleet(manager: FakeManager) -> AsyncIterator[Fleet]:
    fleet = Fleet(manager)  # type: ignore[arg-type]
    yield fleet
    fleet._watching.cancel()


async def chosen(fleet: Fleet) -> str | None:
    replica = fleet.choose(variant(), None)
    return replica.replica_id if replica else None


async def test_without_a_catalog_the_gateway_says_so_and_when_to_come_back(manager: FakeManager) -> None:
    fleet = Fleet(manager)  # type: ignore[arg-type]
    assert not fleet.is_ready
    with pytest.raises(GatewayNotReady) as caught:
        fleet.catalog  # noqa: B018
    assert caught.value.retry_after_s == 1
    await settle()
    assert fleet.is_ready
    assert fleet.catalog.find(CHAT) is not None
    fleet._watching.cancel()


async def test_what_the_manager_says_replaces_what_was_known(fleet: Fleet, manager: FakeManager) -> None:
    manager.publish([report("r1")], [status(VariantState.READY)], promoted=["x"])
    await settle()
    assert await chosen(fleet) == "r1"
    assert fleet.statuses[f"{CHAT}@CPU"].state is VariantState.READY
    assert fleet.promoted == {"x"}
    manager.publish([report("r2")])
    await settle()
    assert await chosen(fleet) == "r2"
    assert [replica.replica_id for replica in fleet.replicas(f"{CHAT}@CPU")] == ["r2"]
    assert fleet.catalog.find(CHAT) is not None


async def test_news_of_one_variant_leave_the_others_as_they_were(fleet: Fleet, manager: FakeManager) -> None:
    other = f"{CHAT}@H100:4"
    manager.publish(
        [report("r1"), report("r2"), report("big", variant=other)],
        [status(VariantState.READY), status(VariantState.READY, other)],
        promoted=["x"],
    )
    await settle()
    manager.publish_news([report("r2", running=5)], [status(VariantState.DRAINING)])
    await settle()
    assert fleet.replicas(f"{CHAT}@CPU") == [report("r2", running=5)]
    assert [replica.replica_id for replica in fleet.replicas(other)] == ["big"]
    assert [fleet.statuses[key].state for key in (f"{CHAT}@CPU", other)] == [VariantState.DRAINING, VariantState.READY]
    assert fleet.promoted == {"x"}
    manager.publish_news([], [status(VariantState.COLD)])
    await settle()
    assert fleet.replicas(f"{CHAT}@CPU") == []
    manager.publish()
    await settle()
    assert fleet.replicas(other) == []


async def test_a_large_catalog_is_loaded_beside_the_event_loop(
    fleet: Fleet, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle()
    assert fleet.catalog.find(PIRATE) is not None
    monkeypatch.setattr(fleet_module, "SMALL_CATALOG_BYTES", 0)
    threads: list[threading.Thread] = []
    load = fleet_module._loaded
    monkeypatch.setattr(fleet_module, "_loaded", lambda it: threads.append(threading.current_thread()) or load(it))
    manager.configure(catalog_settings(adapters=[]))
    manager.publish([report("r1")])
    await until(lambda: fleet.replicas(f"{CHAT}@CPU"))
    assert fleet.catalog.find(PIRATE) is None
    assert threading.main_thread() not in threads
    assert len(threads) == 1


async def test_while_the_manager_is_away_the_last_view_stays_in_use(
    fleet: Fleet, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "RETRY_INTERVAL_S", 0)
    manager.publish([report("r1")])
    await settle()
    manager.is_away = True
    manager.publish([])
    await settle()
    assert await chosen(fleet) == "r1"
    manager.is_away = False
    await settle()
    await settle()
    assert await chosen(fleet) is None


async def test_an_unreachable_replica_is_offered_no_more_until_it_reports_again(
    fleet: Fleet, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.publish([report("r1", sent_at_s=10.0)])
    await settle()
    monkeypatch.setattr(fleet_module, "time", SimpleNamespace(time=lambda: 11.0, monotonic=lambda: 11.0))
    fleet.mark_unreachable(report("r1"))
    assert await chosen(fleet) is None
    manager.publish([report("r1", sent_at_s=10.5)])
    await settle()
    assert await chosen(fleet) is None
    manager.publish([report("r1", sent_at_s=11.5)])
    await settle()
    assert await chosen(fleet) == "r1"


async def test_a_draining_replica_is_offered_no_more(fleet: Fleet, manager: FakeManager) -> None:
    manager.publish([report("r1"), report("r2", running=9)])
    await settle()
    fleet.mark_draining(report("r1"))
    assert await chosen(fleet) == "r2"


async def test_requests_under_way_are_counted_and_uncounted_whatever_happens(
    fleet: Fleet, manager: FakeManager
) -> None:
    manager.publish([report("r1"), report("r2", running=1)])
    await settle()
    with fleet.ongoing(report("r1")), fleet.ongoing(report("r1")):
        assert await chosen(fleet) == "r2"
    with pytest.raises(KeyError), fleet.ongoing(report("r1")):
        raise KeyError
    assert await chosen(fleet) == "r1"
    assert fleet._ongoing == {}


async def test_requests_for_the_same_start_share_it_and_others_do_not(fleet: Fleet, manager: FakeManager) -> None:
    asked: list[tuple[tuple[str, ...], str | None]] = []
    may_end = asyncio.Event()

    async def ensure(keys, adapter, suspects) -> ReplicaReport:
        asked.append((keys, adapter.name if adapter else None))
        await may_end.wait()
        return report("r1")

    manager.on_ensure = ensure
    starts = [fleet.start((variant(),), None) for _ in range(100)]
    with_adapter = fleet.start((variant(),), adapter())
    await settle()
    assert len({id(start) for start in starts}) == 1
    assert asked == [((f"{CHAT}@CPU",), None), ((f"{CHAT}@CPU",), adapter().name)]
    may_end.set()
    assert await starts[0] == await with_adapter == Placed(report("r1"), Reason.PLACEABLE)
    assert await chosen(fleet) == "r1"
    await settle()
    assert fleet.start((variant(),), None) is not starts[0]
    await settle()


async def test_the_status_is_no_older_than_the_answer_that_led_to_it(fleet: Fleet, manager: FakeManager) -> None:
    outcome = Placed(report("r1"), Reason.PLACEABLE, status(VariantState.READY, since_s=2.0))

    async def ensure(keys, adapter, suspects) -> Placed:
        return outcome

    manager.on_ensure = ensure
    manager.publish(variants=[status(VariantState.STARTING, since_s=1.0)])
    await settle()
    version = fleet.states_version
    await fleet.start((variant(),), None)
    assert (fleet.statuses[f"{CHAT}@CPU"].state, fleet.states_version) == (VariantState.READY, version + 1)
    # An answer that comes late puts nothing back.
    manager.publish(variants=[status(VariantState.DRAINING, since_s=3.0)])
    await settle()
    await fleet.start((variant(),), None)
    assert fleet.statuses[f"{CHAT}@CPU"].state is VariantState.DRAINING


async def test_a_start_tells_the_manager_whom_nobody_could_reach(fleet: Fleet, manager: FakeManager) -> None:
    told: list[tuple[str, ...]] = []

    async def ensure(keys, adapter, suspects) -> ReplicaReport | RaymuxError:
        told.append(suspects)
        return ModelFailed("no")

    manager.on_ensure = ensure
    manager.publish([report("r1"), report("r2"), report("r3", ReplicaState.STARTING)])
    await settle()
    fleet.mark_unreachable(report("r1"))
    fleet.mark_draining(report("r2"))
    assert isinstance(await fleet.start((variant(),), None), ModelFailed)
    assert told == [("r1", "r2")]


@pytest.mark.parametrize(("num_deaths", "outcome"), [(1, "ready"), (MANAGER_ATTEMPTS, "model_loading")])
async def test_a_manager_that_dies_under_a_start_is_asked_again_a_few_times(
    fleet: Fleet, manager: FakeManager, monkeypatch: pytest.MonkeyPatch, num_deaths: int, outcome: str
) -> None:
    monkeypatch.setattr(fleet_module, "RETRY_INTERVAL_S", 0)
    deaths = [RayError("the manager died")] * num_deaths

    async def ensure(keys, adapter, suspects) -> ReplicaReport:
        if deaths:
            raise deaths.pop()
        return report("r1")

    manager.on_ensure = ensure
    found = await fleet.start((variant(),), None)
    assert (found.code if isinstance(found, RaymuxError) else found.replica.state) == outcome
