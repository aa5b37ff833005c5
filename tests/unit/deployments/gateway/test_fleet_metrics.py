"""Several gateways and a manager that comes and goes: no total ever goes down, and none jumps up."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from catalog.errors import GatewayNotReady
from deployments.gateway.exchange import Exchange
from deployments.gateway.fleet_metrics import FleetMetrics
from deployments.gateway.metrics import GatewayMetrics
from deployments.manager.metrics import GONE_AFTER_S, FleetCounts
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Store
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot, exposition


class Manager:
    """The metrics' part of the manager, as gateways call it."""

    def __init__(self, store: Store) -> None:
        self.now_s = 1_000.0
        self.is_away = False
        self.told: list[Snapshot] = []
        self._store = store
        self.counts = FleetCounts(store, lambda: self.now_s)
        self.gateway_metrics = SimpleNamespace(remote=self._take)
        self.total_metrics = SimpleNamespace(remote=self._total)

    async def restart(self) -> None:
        self.counts = FleetCounts(self._store, lambda: self.now_s)
        await self.counts.restore()

    async def _take(self, gateway: str, number: int, counts: Snapshot, *, is_whole: bool) -> bool:
        self._require()
        # As if it had come over the wire.
        self.told.append(copy.deepcopy(counts))
        return self.counts.take(gateway, number, copy.deepcopy(counts), is_whole=is_whole)

    async def _total(self) -> bytes | None:
        self._require()
        total = self.counts.total()
        return None if total is None else exposition(total)

    def _require(self) -> None:
        if self.is_away:
            raise ConnectionError("the manager restarts")


class Gateways:
    """Gateways whose requests the test counts, too."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.running: list[FleetMetrics] = []

    def begin(self) -> FleetMetrics:
        fleet: Any = SimpleNamespace(manager=self._manager)
        gateway = FleetMetrics(fleet, GatewayMetrics())
        # The test says when it tells the manager.
        gateway._pushing.cancel()
        self.running.append(gateway)
        return gateway

    def kill(self, gateway: FleetMetrics) -> None:
        self.running.remove(gateway)


def serve(gateway: FleetMetrics, number: int = 1, model: str = "a") -> None:
    for _ in range(number):
        exchange = Exchange("r", "POST", "/", endpoint="/v1/chat/completions", model=model, status=200)
        gateway._metrics.begun()
        gateway._metrics.ended(exchange, 1.0)


async def num_requests(gateway: FleetMetrics) -> float | None:
    """The total as this gateway tells it; None when it tells none."""
    try:
        text = (await gateway.total()).decode()
    except GatewayNotReady:
        return None
    families = text_string_to_metric_families(text)
    return sum(each.value for family in families for each in family.samples if each.name == "inference_requests_total")


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    manager = Manager(SqliteStore(tmp_path / "raymux.db"))
    manager.now_s += 2 * PUSH_INTERVAL_S
    return manager


@pytest.fixture
async def gateways(manager: Manager) -> Iterator[Gateways]:  # type: ignore[misc]
    return Gateways(manager)


async def test_every_gateway_tells_the_same_total(gateways: Gateways) -> None:
    first, second = gateways.begin(), gateways.begin()
    serve(first, 5)
    serve(second, 7)
    await second.tell()
    assert await num_requests(first) == 12
    assert await num_requests(second) == 12


async def test_what_a_gateway_has_told_outlives_it(gateways: Gateways) -> None:
    first, second = gateways.begin(), gateways.begin()
    serve(first, 5)
    assert await num_requests(first) == 5
    gateways.kill(first)
    assert await num_requests(second) == 5


async def test_while_the_manager_is_away_no_total_is_told(gateways: Gateways, manager: Manager) -> None:
    first, second = gateways.begin(), gateways.begin()
    serve(first, 5)
    assert await num_requests(second) == 0
    manager.is_away = True
    assert [await num_requests(each) for each in (first, second, gateways.begin())] == [None] * 3
    manager.is_away = False
    assert await num_requests(second) == 0
    await first.tell()
    assert await num_requests(second) == 5


async def test_a_new_manager_is_told_all_again_before_it_tells(gateways: Gateways, manager: Manager) -> None:
    first, second = gateways.begin(), gateways.begin()
    serve(first, 5)
    await first.tell()
    await manager.restart()
    assert await num_requests(second) is None
    # The first call finds out that the manager knows nothing, the next one tells it.
    await first.tell()
    await first.tell()
    manager.now_s += 2 * PUSH_INTERVAL_S
    assert await num_requests(second) == 5


def counted_models(counts: Snapshot) -> set[str]:
    """The models of which something was told."""
    labels = [dict(labels) for family in counts.values() for _, labels in family.samples]
    return {each["model"] for each in labels if "model" in each}


async def test_only_what_has_changed_is_told_again(gateways: Gateways, manager: Manager) -> None:
    gateway = gateways.begin()
    for model in ("a", "b", "c"):
        serve(gateway, model=model)
    await gateway.tell()
    await gateway.tell()
    serve(gateway, 2, "b")
    await gateway.tell()
    gateway._metrics.cache_hit("c")
    gateway._metrics.watch_queue(lambda: {"a": 3})
    await gateway.tell()
    assert [counted_models(counts) for counts in manager.told] == [{"a", "b", "c"}, set(), {"b"}, {"a", "c"}]
    assert await num_requests(gateway) == 5
    whole, told = await gateway._metrics.all(), manager.counts.total()
    assert told == whole


async def test_a_queue_that_has_emptied_is_told(gateways: Gateways, manager: Manager) -> None:
    gateway = gateways.begin()
    gateway._metrics.watch_queue(lambda: {"a": 3})
    await gateway.tell()
    gateway._metrics.watch_queue(dict)
    await gateway.tell()
    total = manager.counts.total()
    assert total is not None
    assert total["inference_queue_depth"].samples == {}


async def test_what_a_broken_call_may_have_lost_is_told_again(gateways: Gateways, manager: Manager) -> None:
    gateway = gateways.begin()
    serve(gateway)
    await gateway.tell()
    manager.is_away = True
    serve(gateway, 3, "b")
    assert not await gateway.tell()
    manager.is_away = False
    assert await gateway.tell()
    assert await num_requests(gateway) == 4


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_totals_only_grow_and_never_beyond_the_truth(
    gateways: Gateways, manager: Manager, seed: int
) -> None:
    """Requests, pushes, scrapes, deaths, pauses and an absent manager, in any order."""
    chance = random.Random(seed)
    gateways.begin()
    served, last = 0, 0.0
    for _ in range(150):
        gateway = chance.choice(gateways.running)
        match chance.choice(("serve", "serve", "tell", "scrape", "scrape", "begin", "kill", "pause", "away")):
            case "serve":
                serve(gateway, number := chance.randrange(1, 5))
                served += number
            case "tell":
                await gateway.tell()
            case "scrape":
                told = await num_requests(gateway)
                assert told is None or last <= told <= served
                last = told or last
            case "begin":
                gateways.begin()
            case "kill" if len(gateways.running) > 1:
                gateways.kill(gateway)
            case "pause":
                manager.now_s += GONE_AFTER_S + 1
                await manager.counts.forget_gone()
            case "away":
                manager.is_away = not manager.is_away
