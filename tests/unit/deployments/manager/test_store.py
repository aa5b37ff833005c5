from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from catalog.errors import StoreUnavailable
from deployments.manager import store as store_module
from deployments.manager.store import Kind, Record, Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "raymux.db"


async def test_records_come_back_by_kind_in_the_order_they_came(path: Path) -> None:
    store = Store(path)
    await store.put(Kind.MODEL, "b", {"source": "x"})
    await store.put(Kind.MODEL, "a", {"source": "y"})
    await store.put(Kind.STOP, "b")
    assert list((await store.read(Kind.MODEL)).items()) == [("b", {"source": "x"}), ("a", {"source": "y"})]
    assert await store.read(Kind.STOP) == {"b": True}
    assert await store.read(Kind.WARMUP) == {}


async def test_a_record_is_replaced_and_forgotten(path: Path) -> None:
    store = Store(path)
    await store.put(Kind.MODEL, "a", 1)
    await store.put(Kind.MODEL, "a", 2)
    assert await store.read(Kind.MODEL) == {"a": 2}
    await store.delete(Kind.MODEL, "a")
    await store.delete(Kind.MODEL, "never there")
    assert await store.read(Kind.MODEL) == {}


async def test_several_changes_are_made_all_or_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(path)
    await store.put(Kind.MODEL, "old", 1)
    await store.write(Record(Kind.MODEL, "old", None), Record(Kind.NOTICE, "new", {"a": 1}))
    assert (await store.read(Kind.MODEL), await store.read(Kind.NOTICE)) == ({}, {"new": {"a": 1}})
    monkeypatch.setattr(store_module, "_DELETE", "no SQL")
    with pytest.raises(StoreUnavailable):
        await store.write(Record(Kind.MODEL, "another", 1), Record(Kind.NOTICE, "new", None))
    assert (await store.read(Kind.MODEL), await store.read(Kind.NOTICE)) == ({}, {"new": {"a": 1}})


async def test_another_store_on_the_same_file_finds_what_was_put_without_a_close(path: Path) -> None:
    await Store(path).put(Kind.PROMOTION, "rl:a:b:c")
    assert await Store(path).read(Kind.PROMOTION) == {"rl:a:b:c": True}


async def test_a_name_is_only_a_value(path: Path) -> None:
    store = Store(path)
    hostile = "x'; DROP TABLE records; --"
    await store.put(Kind.MODEL, hostile, {})
    assert await store.read(Kind.MODEL) == {hostile: {}}


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but something that its owner wants to keep")
    with pytest.raises(StoreUnavailable):
        asyncio.run(Store(path).read(Kind.MODEL))
    assert path.read_text().startswith("not a database")


async def test_a_full_disk_is_an_error_and_changes_nothing(path: Path) -> None:
    store = Store(path)
    await store.put(Kind.MODEL, "a", 1)
    assert store._connection is not None
    # As many pages as the database has now: SQLite then says what it says on a full disk.
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable):
        await store.put(Kind.MODEL, "b", "x" * 100_000)
    assert await store.read(Kind.MODEL) == {"a": 1}


async def test_a_change_cut_off_before_its_commit_is_not_there_and_one_that_was_acknowledged_is(path: Path) -> None:
    await Store(path).put(Kind.MODEL, "a", 1)
    half = sqlite3.connect(path)
    half.execute("INSERT INTO records VALUES ('model', 'half', '1')")
    half.close()
    assert await Store(path).read(Kind.MODEL) == {"a": 1}
