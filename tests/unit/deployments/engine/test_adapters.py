from __future__ import annotations

import asyncio
import gc
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.catalog import AdapterSpec
from catalog.errors import AdapterRejected, ModelFailed
from catalog.models import AdapterPool
from catalog.sources import SourceNotFound, SourceRefused, SourceUnavailable
from deployments.engine.adapter_files import BadAdapter
from deployments.engine.adapters import AdapterShelf, LoadedAdapter
from deployments.sources.cache import Held
from tests.unit.builders import settle, until


class Multiplexed:
    """`serve.multiplexed` without a replica: the cache of ray/serve/multiplex.py, its lock, order and evictions."""

    def __init__(self, load: Callable[[str], Awaitable[Any]], max_num_models: int) -> None:
        self._load = load
        self._max_num_models = max_num_models
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._lock = asyncio.Lock()

    async def __call__(self, model_id: str) -> Any:
        if model_id in self._models:
            self._models.move_to_end(model_id)
            return self._models[model_id]
        async with self._lock:
            if model_id in self._models:
                return self._models[model_id]
            if len(self._models) >= self._max_num_models:
                _, evicted = self._models.popitem(last=False)
                await evicted.__del__()
                evicted.__del__ = lambda _: None
            self._models[model_id] = await self._load(model_id)
            return self._models[model_id]


class FakeEngine:
    """Keeps the adapters it holds; loading and unloading give other tasks a turn."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.loads: list[str] = []
        self.most_held = 0
        self.on_unload: Callable[[str], None] = lambda name: None
        self.refusal: Exception | None = None
        self.has_died = False

    def is_alive(self) -> bool:
        return not self.has_died

    async def load_adapter(self, names: tuple[str, ...], path: str) -> None:
        self.loads.append(names[0])
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        self.held.add(names[0])
        self.most_held = max(self.most_held, len(self.held))

    async def unload_adapter(self, names: tuple[str, ...]) -> None:
        self.on_unload(names[0])
        await asyncio.sleep(0)
        self.held.remove(names[0])


@pytest.fixture(autouse=True)
def _no_files_and_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    def multiplexed(*, max_num_models_per_replica: int):
        return lambda load: Multiplexed(load, max_num_models_per_replica)

    monkeypatch.setattr("deployments.engine.adapters.serve.multiplexed", multiplexed)
    monkeypatch.setattr("deployments.engine.adapters.check_adapter", lambda folder, base, max_rank: None)


class FakeSources:
    """Every source is here already, unless `problem` says otherwise; counts who holds files."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.num_held = 0
        self.may_come = asyncio.Event()
        self.may_come.set()

    async def bring(self, source: str, most_bytes: int | None = None) -> Held:
        await asyncio.sleep(0)
        if "://" in source:
            await self.may_come.wait()
        if self.problem is not None:
            raise self.problem
        if most_bytes is not None:
            self.num_held += 1
        return CountedHeld(source, self)


class CountedHeld(Held):
    def __init__(self, location: str, sources: FakeSources) -> None:
        super().__init__(location)
        self._sources = sources

    def release(self) -> None:
        self._sources.num_held -= 1


def spec(name: str) -> AdapterSpec:
    return AdapterSpec(name, (name, f"{name}-alias"), f"models/{name}")


def shelf_of(engine: FakeEngine, capacity: int = 2, sources: FakeSources | None = None) -> AdapterShelf:
    pool = AdapterPool(max_adapters_per_replica=capacity)
    return AdapterShelf(engine, pool, "models/base", sources or FakeSources())  # type: ignore[arg-type]


class Holder:
    """A request that holds an adapter until it is told to end."""

    def __init__(self, shelf: AdapterShelf, name: str) -> None:
        self.has_it = False
        self._may_end = asyncio.Event()
        self._task = asyncio.create_task(self._hold(shelf, name))

    async def _hold(self, shelf: AdapterShelf, name: str) -> None:
        async with shelf.lease(spec(name)):
            self.has_it = True
            await self._may_end.wait()

    async def started(self) -> Holder:
        await until(lambda: self.has_it)
        return self

    async def end(self) -> None:
        self._may_end.set()
        await self._task


async def use(shelf: AdapterShelf, name: str) -> None:
    async with shelf.lease(spec(name)):
        pass


async def test_an_adapter_is_loaded_once_for_all_who_want_it() -> None:
    engine = FakeEngine()
    shelf = shelf_of(engine)
    await asyncio.gather(*(use(shelf, "a") for _ in range(20)))
    assert engine.loads == ["a"]
    assert shelf.names == ("a",)


async def test_the_least_recently_used_adapter_leaves_first() -> None:
    engine = FakeEngine()
    shelf = shelf_of(engine)
    for name in ("a", "b", "a", "c"):
        await use(shelf, name)
    assert engine.held == set(shelf.names) == {"a", "c"}


async def test_a_busy_adapter_is_never_evicted_while_an_idle_one_is_there() -> None:
    engine = FakeEngine()
    shelf = shelf_of(engine)
    holder = await Holder(shelf, "a").started()
    for name in ("b", "c", "d"):
        await use(shelf, name)
        assert "a" in engine.held
    assert engine.loads == ["a", "b", "c", "d"]
    await holder.end()


async def test_when_all_are_busy_a_new_one_waits_until_one_is_free() -> None:
    engine = FakeEngine()
    shelf = shelf_of(engine, capacity=1)
    first = await Holder(shelf, "a").started()
    second = Holder(shelf, "b")
    await settle()
    assert not second.has_it
    assert engine.held == {"a"}
    await first.end()
    await second.started()
    assert engine.held == {"b"}
    await second.end()


async def test_an_adapter_that_leaves_takes_no_new_requests_and_is_not_named() -> None:
    engine = FakeEngine()
    shelf = shelf_of(engine, capacity=1)
    first = await Holder(shelf, "a").started()
    second = Holder(shelf, "b")
    await settle()
    assert shelf.names == ()
    third = Holder(shelf, "a")
    await settle()
    assert not third.has_it
    await first.end()
    await (await second.started()).end()
    await (await third.started()).end()
    assert engine.loads == ["a", "b", "a"]


async def test_an_adapter_the_engine_refuses_is_rejected_and_not_held() -> None:
    engine = FakeEngine()
    engine.refusal = ValueError("unsupported target module")
    shelf = shelf_of(engine)
    with pytest.raises(AdapterRejected, match="unsupported target module"):
        await use(shelf, "a")
    assert shelf.names == ()
    engine.refusal = None
    await use(shelf, "a")
    assert shelf.names == ("a",)


async def test_an_engine_that_dies_under_a_load_is_no_fault_of_the_adapter() -> None:
    engine = FakeEngine()
    engine.refusal, engine.has_died = ValueError("the engine core is gone"), True
    sources = FakeSources()
    with pytest.raises(ValueError, match="the engine core is gone"):
        await use(shelf_of(engine, sources=sources), "a")
    assert sources.num_held == 0


async def test_an_adapter_with_bad_files_never_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BadAdapter("its rank is 99")

    monkeypatch.setattr("deployments.engine.adapters.check_adapter", refuse)
    engine, sources = FakeEngine(), FakeSources()
    with pytest.raises(AdapterRejected, match="a cannot be served: its rank is 99"):
        await use(shelf_of(engine, sources=sources), "a")
    assert engine.loads == []
    assert sources.num_held == 0


@pytest.mark.parametrize(
    ("problem", "error", "said"),
    [
        (SourceNotFound("no folder at source 'x'"), AdapterRejected, "a cannot be served: no folder at its source"),
        (SourceRefused("its server answered 404"), AdapterRejected, "a cannot be served: its server answered 404"),
        (SourceUnavailable("its server answered 503"), ModelFailed, "a cannot be fetched: its server answered 503"),
    ],
)
async def test_an_adapter_that_cannot_be_had_is_the_callers_fault_or_may_be_had_later(
    problem: Exception, error: type[Exception], said: str
) -> None:
    engine, sources = FakeEngine(), FakeSources()
    shelf = shelf_of(engine, sources=sources)
    sources.problem = problem
    with pytest.raises(error, match=said):
        await use(shelf, "a")
    assert engine.loads == []
    sources.problem = None
    await use(shelf, "a")
    assert shelf.names == ("a",)


async def test_files_are_held_for_as_long_as_the_engine_has_the_adapter() -> None:
    sources = FakeSources()
    shelf = shelf_of(FakeEngine(), capacity=1, sources=sources)
    for name in ("a", "b", "a"):
        await use(shelf, name)
        assert sources.num_held == 1


async def test_a_download_keeps_no_other_adapter_waiting() -> None:
    sources = FakeSources()
    shelf = shelf_of(FakeEngine(), sources=sources)
    sources.may_come.clear()
    far = AdapterSpec("far", ("far",), "s3://bucket/far")

    async def use_far() -> None:
        async with shelf.lease(far):
            pass

    waiting = asyncio.create_task(use_far())
    await settle()
    await use(shelf, "near")
    assert shelf.names == ("near",)
    assert not waiting.done()
    sources.may_come.set()
    await waiting
    assert set(shelf.names) == {"near", "far"}


async def test_a_lease_ends_when_its_request_fails() -> None:
    engine = FakeEngine()
    shelf = shelf_of(engine, capacity=1)
    with pytest.raises(KeyError):
        async with shelf.lease(spec("a")):
            raise KeyError("the request failed")
    await use(shelf, "b")
    assert engine.held == {"b"}


async def test_an_adapter_that_is_dropped_leaves_no_coroutine_behind(recwarn: pytest.WarningsRecorder) -> None:
    LoadedAdapter(spec("a"), Held("a"), FakeEngine(), {})  # type: ignore[arg-type]
    gc.collect()
    assert not recwarn.list


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), capacity=st.integers(1, 3), num_adapters=st.integers(1, 5))
def test_whatever_the_order_no_adapter_is_unloaded_in_use_and_no_slot_is_used_twice(
    seed: int, capacity: int, num_adapters: int
) -> None:
    chance = random.Random(seed)
    engine = FakeEngine()
    in_use: list[str] = []

    def unloading(name: str) -> None:
        assert name not in in_use

    async def request(shelf: AdapterShelf, name: str, num_turns: int) -> None:
        async with shelf.lease(spec(name)):
            assert name in engine.held
            in_use.append(name)
            for _ in range(num_turns):
                await asyncio.sleep(0)
            assert name in engine.held
            in_use.remove(name)

    async def run() -> None:
        engine.on_unload = unloading
        shelf = shelf_of(engine, capacity)
        wanted = [(f"a{chance.randrange(num_adapters)}", chance.randrange(6)) for _ in range(20)]
        await asyncio.gather(*(request(shelf, name, num_turns) for name, num_turns in wanted))
        assert set(shelf.names) == engine.held

    asyncio.run(run())
    assert engine.most_held <= capacity
