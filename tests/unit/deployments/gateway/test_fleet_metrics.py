"""Several gateways and a manager that comes and goes: no total ever goes down, and none jumps up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catalog.errors import GatewayNotReady
from deployments.gateway.exchange import Exchange
from deployments.gateway.fleet_metrics import FleetMetrics
from deployments.gateway.metrics import GatewayMetrics
from deployments.manager.metrics import GONE_AFTER_S, FleetCounts
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Store
from deployments.metric_families import PUSH_INTERVAL_S, Snapshot


class Manager:
    """The metrics' part of the manager, as gateways call it."""

    def __init__(self, store: Store) -> None:
        self.now_s = 1_000.0
        self.is_away = False
        self.told: list[Snapshot | None] = []
        self._store = store
        self.counts = FleetCounts(store, lambda: self.now_s)
        self.gateway_metrics = SimpleNamespace(remote=self._take)
        self.total_metrics = SimpleNamespace(remote=self._total)

    async def restart(self) -> None:
        self.counts = FleetCounts(self._store, lambda: self.now_s)
        await self.counts.restore()

    async def _take(self, gateway: str, number: int, counts: Snapshot | None) -> bool:
        self._require()
        self.told.append(counts)
        return self.counts.take(gateway, number, counts)

    async def _total(self, gateway: str, number: int, counts: Snapshot) -> Snapshot | None:
        self._require()
        self.counts.take(gateway, number, counts)
        return self.counts.total()

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


def serve(gateway: FleetMetrics, number: int = 1) -> None:
    for _ in range(number):
        exchange = Exchange("r", "POST", "/", endpoint="/v1/chat/completions", model="a", status=200)
        gateway._metrics.begun()
        gateway._metrics.ended(exchange, 1.0)


async def num_requests(gateway: FleetMetrics) -> float | None:
    """The total as this gateway tells it; None when it tells none."""
    try:
        family = (await gateway.total()).get("inference_requests")
    except GatewayNotReady:
        return None
    return sum(value for (name, _), value in family.samples.items() if name.endswith("_total")) if family else 0.0


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


async def test_an_idle_gateway_only_says_that_it_lives(gateways: Gateways, manager: Manager) -> None:
    gateway = gateways.begin()
    serve(gateway)
    await gateway.tell()
    await gateway.tell()
    gateway._metrics.cache_hit("a")
    await gateway.tell()
    gateway._metrics.watch_queue(lambda: {"a": 3})
    await gateway.tell()
    assert [counts is not None for counts in manager.told] == [True, False, True, True]


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
