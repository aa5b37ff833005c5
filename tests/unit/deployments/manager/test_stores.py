"""Every store keeps what it acknowledged, whichever one a configuration asks for; Redis is a real server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from catalog.errors import StoreUnavailable
from catalog.redis import StoreRedisSettings
from catalog.settings import CatalogSettings
from deployments.manager.redis_store import RedisStore
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Kind, Record, Store
from deployments.manager.stores import open_store
from tests.redis_server import RedisServer
from tests.unit.builders import catalog_dict

Open = Callable[[], Store]
OpenRedis = Callable[..., RedisStore]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def open_redis(redis_server: RedisServer) -> AsyncIterator[OpenRedis]:
    opened: list[RedisStore] = []

    def open_one(prefix: str, timeout_s: float = 5) -> RedisStore:
        opened.append(RedisStore(redis_server.url, StoreRedisSettings(key_prefix=prefix, timeout_s=timeout_s)))
        return opened[-1]

    yield open_one
    for store in opened:
        await store._client.aclose()


@pytest.fixture(params=["sqlite", "redis"])
async def open_again(request: pytest.FixtureRequest, tmp_path: Path, open_redis: OpenRedis) -> Open:
    """Opens the same store, as another manager does."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "raymux.db")
    prefix = f"{uuid.uuid4().hex}:"
    return lambda: open_redis(prefix)


async def test_records_come_back_by_kind_in_the_order_they_came(open_again: Open) -> None:
    store = open_again()
    await store.put(Kind.MODEL, "b", {"source": "x"})
    await store.put(Kind.MODEL, "a", {"source": "y"})
    await store.put(Kind.STOP, "b")
    assert list((await store.read(Kind.MODEL)).items()) == [("b", {"source": "x"}), ("a", {"source": "y"})]
    assert await store.read(Kind.STOP) == {"b": True}
    assert await store.read(Kind.WARMUP) == {}


async def test_a_record_is_replaced_and_forgotten(open_again: Open) -> None:
    store = open_again()
    await store.put(Kind.MODEL, "a", 1)
    await store.put(Kind.MODEL, "a", 2)
    assert await store.read(Kind.MODEL) == {"a": 2}
    await store.delete(Kind.MODEL, "a")
    await store.delete(Kind.MODEL, "never there")
    assert await store.read(Kind.MODEL) == {}


async def test_changes_that_are_asked_for_at_once_take_effect_in_that_order(open_again: Open) -> None:
    store = open_again()
    for last in (None, 7):
        changes = [Record(Kind.STOP, "m", number if number % 2 else None) for number in range(50)]
        await asyncio.gather(*(store.write(change) for change in [*changes, Record(Kind.STOP, "m", last)]))
        assert (await store.read(Kind.STOP)).get("m") == last


async def test_several_changes_are_made_at_once(open_again: Open) -> None:
    store = open_again()
    await store.put(Kind.MODEL, "old", 1)
    await store.write(Record(Kind.MODEL, "old", None), Record(Kind.NOTICE, "b", 1), Record(Kind.NOTICE, "a", 2))
    assert (await store.read(Kind.MODEL), list(await store.read(Kind.NOTICE))) == ({}, ["b", "a"])


async def test_another_manager_finds_what_was_put_without_a_close(open_again: Open) -> None:
    await open_again().put(Kind.PROMOTION, "rl:a:b:c")
    assert await open_again().read(Kind.PROMOTION) == {"rl:a:b:c": True}


async def test_a_name_is_only_a_value(open_again: Open) -> None:
    store = open_again()
    hostile = "x'; DROP TABLE records; --\r\n*1"
    await store.put(Kind.MODEL, hostile, {})
    assert await store.read(Kind.MODEL) == {hostile: {}}


async def test_two_prefixes_are_two_stores(open_redis: OpenRedis) -> None:
    await open_redis("a:").put(Kind.STOP, "m")
    assert await open_redis("b:").read(Kind.STOP) == {}


async def test_what_is_not_raymux_s_is_left_out(redis_server: RedisServer, open_redis: OpenRedis) -> None:
    store = open_redis("odd:")
    await store.put(Kind.STOP, "mine")
    redis_server.client.hset("odd:store:stop", mapping={"a": "garbage", "b": "[1]", "c": "{}", "d": '["x", 1]'})
    assert await store.read(Kind.STOP) == {"mine": True}


async def test_a_server_that_hangs_or_is_another_s_refuses_changes_in_time(
    redis_server: RedisServer, open_redis: OpenRedis
) -> None:
    store, hurried = open_redis("hung:"), open_redis("hung:", timeout_s=0.2)
    redis_server.freeze()
    try:
        with pytest.raises(StoreUnavailable):
            await hurried.put(Kind.STOP, "m")
        with pytest.raises(StoreUnavailable):
            await hurried.read(Kind.STOP)
    finally:
        redis_server.thaw()
    redis_server.client.set("hung:store:model", "a text")
    with pytest.raises(StoreUnavailable):
        await store.write(Record(Kind.MODEL, "m", 1))
    await store.put(Kind.WARMUP, "m")


def test_a_configuration_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_store(CatalogSettings.model_validate(catalog_dict())), SqliteStore)
    settings = CatalogSettings.model_validate({**catalog_dict(), "store_redis": {}})
    monkeypatch.delenv("RAYMUX_REDIS_URL", raising=False)
    with pytest.raises(ValueError, match="RAYMUX_REDIS_URL"):
        open_store(settings)
    monkeypatch.setenv("RAYMUX_REDIS_URL", "redis://127.0.0.1:1/0")
    assert isinstance(open_store(settings), RedisStore)
