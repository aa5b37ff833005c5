"""Whatever is lost on the way, and whoever dies, every gateway ends up with what the manager knows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from catalog.catalog import Catalog
from catalog.replicas import ReplicaReport, VariantState, VariantStatus
from catalog.settings import CatalogSettings
from catalog.warmups import Warmup
from deployments.gateway import fleet as fleet_module
from deployments.gateway.fleet import Fleet
from deployments.manager.changes import PROMOTED, WARMUPS, Changes
from deployments.manager.news import News
from deployments.manager.view import FleetView
from tests.unit.builders import CHAT, EMBEDDER, HELD_CHECKPOINT, Clock, catalog, report, settle, status

CPU, GPUS, EMBED = f"{CHAT}@CPU", f"{CHAT}@H100:4", f"{EMBEDDER}@CPU"
WARMUP = Warmup("warmup-1", CHAT, (CPU,), 60.0, 1.0)


class Keeper:
    """What there is to know of one variant."""

    def __init__(self, key: str) -> None:
        self.known = status(VariantState.COLD, key)
        self.replicas: dict[str, ReplicaReport] = {}

    def status(self) -> VariantStatus:
        return self.known


class Manager:
    """The manager as gateways see it. `lost` counts the answers that never arrive."""

    def __init__(self) -> None:
        self.lost = 0
        self.are_whole: list[bool] = []
        self.watch = SimpleNamespace(remote=self._watch)
        self.begin()

    def begin(self) -> None:
        """A new process: it knows nothing of the last one's versions."""
        self.catalog = catalog()
        self.changes = Changes()
        self.keepers = {key: Keeper(key) for key in self.catalog.variants}
        self.promoted: set[str] = set()
        self.warmups: tuple[Warmup, ...] = ()
        self.news = News(self.changes, self, self, SimpleNamespace(all=lambda: self.warmups))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Keeper]:
        return iter(self.keepers.values())

    def of_keys(self, keys: Iterable[str]) -> list[Keeper]:
        return [self.keepers[key] for key in keys if key in self.keepers]

    def put(self, key: str, state: VariantState, *replicas: str) -> None:
        """A variant's state and its replicas."""
        if (keeper := self.keepers.get(key)) is not None:
            keeper.known = status(state, key)
            keeper.replicas = {id: report(id, variant=key) for id in replicas}
            self.changes.note(key)

    def promote(self, name: str) -> None:
        self.promoted.add(name)
        self.changes.note(PROMOTED)

    def warm_up(self, *warmups: Warmup) -> None:
        self.warmups = warmups
        self.changes.note(WARMUPS)

    async def configure(self, settings: CatalogSettings, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Another catalog, as the manager takes it over; `meanwhile` happens before all that belongs to it is done."""
        self.catalog = Catalog(settings)
        self.changes.note_catalog()
        meanwhile()
        await settle()
        wanted = self.catalog.variants
        self.keepers = {key: self.keepers.get(key) or Keeper(key) for key in wanted}
        self.changes.note_all()

    async def _watch(self, version: int, catalog_version: int, *_: Any) -> FleetView:
        await self.changes.after(version, 60)
        view = self.news.since(version, catalog_version, self.catalog)
        if self.lost:
            self.lost -= 1
            raise ConnectionError("the answer never came")
        self.are_whole.append(view.is_whole)
        return view


@pytest.fixture
async def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    monkeypatch.setattr(fleet_module, "RETRY_INTERVAL_S", 0)
    return Manager()


@pytest.fixture
async def gateways(manager: Manager) -> AsyncIterator[list[Fleet]]:
    """One that has heard of everything; the test may begin others."""
    gateways = [Fleet(manager)]  # type: ignore[arg-type]
    await settle()
    yield gateways
    for gateway in gateways:
        gateway._watching.cancel()


async def require_equal(manager: Manager, gateways: Iterable[Fleet]) -> None:
    await settle()
    for gateway in gateways:
        assert gateway.catalog.settings == manager.catalog.settings
        assert gateway.statuses == {key: keeper.known for key, keeper in manager.keepers.items()}
        assert {key: gateway.replicas(key) for key in (CPU, GPUS, EMBED)} == {
            key: list(manager.keepers[key].replicas.values()) if key in manager.keepers else []
            for key in (CPU, GPUS, EMBED)
        }
        assert gateway.promoted == manager.promoted
        assert tuple(gateway.warmups.values()) == manager.warmups


async def test_a_gateway_is_told_of_one_variant_without_the_others(manager: Manager, gateways: list[Fleet]) -> None:
    manager.put(CPU, VariantState.READY, "r1")
    await require_equal(manager, gateways)
    assert manager.are_whole == [True, False]


async def test_a_gateway_that_misses_an_answer_is_told_again(manager: Manager, gateways: list[Fleet]) -> None:
    manager.lost = 3
    manager.put(CPU, VariantState.READY, "r1")
    manager.promote(HELD_CHECKPOINT)
    manager.warm_up(WARMUP)
    await require_equal(manager, gateways)
    assert manager.lost == 0
    assert manager.are_whole == [True, False]


async def test_a_gateway_that_starts_late_is_told_all(manager: Manager, gateways: list[Fleet]) -> None:
    manager.put(CPU, VariantState.READY, "r1")
    manager.promote(HELD_CHECKPOINT)
    manager.warm_up(WARMUP)
    await settle()
    gateways.append(Fleet(manager))  # type: ignore[arg-type]
    await require_equal(manager, gateways)


@pytest.mark.parametrize("num_changes", [0, 1, 5_000])
async def test_a_new_manager_tells_all_whatever_the_last_one_had_counted(
    manager: Manager, gateways: list[Fleet], num_changes: int
) -> None:
    """Killed, its successor may begin within the same millisecond, or with a clock that was set back."""
    for number in range(num_changes):
        manager.put(CPU, VariantState.READY, f"r{number}")
    manager.put(EMBED, VariantState.READY, "e1")
    manager.promote(HELD_CHECKPOINT)
    await require_equal(manager, gateways)
    before = manager.changes
    manager.begin()
    for number in range(num_changes):
        manager.put(GPUS, VariantState.READY, f"g{number}")
    # What asked the last one gets no answer.
    manager.lost = 1
    before.note_all()
    await require_equal(manager, gateways)


async def test_a_change_amid_a_change_of_the_catalog_is_not_lost(manager: Manager, gateways: list[Fleet]) -> None:
    manager.put(EMBED, VariantState.READY, "e1")
    await settle()

    def meanwhile() -> None:
        manager.put(CPU, VariantState.READY, "r1")
        manager.put(EMBED, VariantState.DRAINING, "e1")

    models = [model.model_dump() for model in manager.catalog.settings.models if model.name == CHAT]
    await manager.configure(CatalogSettings.model_validate({"models": models}), meanwhile)
    await require_equal(manager, gateways)
    assert EMBED not in gateways[0].statuses
    await manager.configure(catalog().settings, lambda: manager.put(GPUS, VariantState.READY, "g1"))
    await require_equal(manager, gateways)
    assert gateways[0].statuses[EMBED].state is VariantState.COLD


async def test_what_no_change_was_noted_of_is_mended_in_time(
    manager: Manager, gateways: list[Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was late has put back a replica that had left."""
    clock = Clock()
    monkeypatch.setattr(fleet_module, "time", SimpleNamespace(time=clock, monotonic=clock))
    gateways.append(Fleet(manager))  # type: ignore[arg-type]
    gateways.pop(0)._watching.cancel()
    await settle()
    gateways[0]._take(report("r1"))
    manager.put(EMBED, VariantState.READY, "e1")
    await settle()
    assert gateways[0].replicas(CPU)
    clock.now_s += fleet_module.WHOLE_INTERVAL_S + 1
    manager.put(EMBED, VariantState.READY, "e2")
    await require_equal(manager, gateways)
    assert manager.are_whole == [True, True, False, False, True]


async def test_a_replica_that_has_left_is_not_put_back_by_its_farewell(manager: Manager, gateways: list[Fleet]) -> None:
    manager.put(CPU, VariantState.READY, "r1")
    await settle()
    manager.put(CPU, VariantState.COLD)
    await settle()
    gateways[0].mark_draining(report("r1"))
    await require_equal(manager, gateways)


@pytest.mark.parametrize("seed", range(40))
async def test_gateways_follow_whatever_happens(manager: Manager, gateways: list[Fleet], seed: int) -> None:
    chance = random.Random(seed)
    few = [model.model_dump() for model in manager.catalog.settings.models[:1]]
    settings = [catalog().settings, CatalogSettings.model_validate({"models": few})]

    def change() -> None:
        replicas = chance.sample(["a", "b", "c"], chance.randrange(4))
        manager.put(chance.choice((CPU, GPUS, EMBED)), chance.choice(list(VariantState)), *replicas)

    for _ in range(60):
        match chance.randrange(10):
            case 0:
                await manager.configure(chance.choice(settings), change)
            case 1:
                manager.lost = chance.randrange(3)
            case 2:
                manager.promote(chance.choice((HELD_CHECKPOINT, "another")))
            case 3:
                manager.warm_up(*([WARMUP] * chance.randrange(2)))
            case 4 if chance.random() < 0.3:
                before = manager.changes
                manager.begin()
                before.note_all()
            case 5 if len(gateways) < 3:
                gateways.append(Fleet(manager))  # type: ignore[arg-type]
            case _:
                change()
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
    manager.lost = 0
    await require_equal(manager, gateways)
