from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from catalog.errors import StoreUnavailable
from deployments.manager import sqlite_store
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Kind, Record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "raymux.db"


async def test_a_change_that_fails_undoes_those_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(path)
    await store.put(Kind.NOTICE, "new", {"a": 1})
    monkeypatch.setattr(sqlite_store, "_DELETE", "no SQL")
    with pytest.raises(StoreUnavailable):
        await store.write(Record(Kind.MODEL, "another", 1), Record(Kind.NOTICE, "new", None))
    assert (await store.read(Kind.MODEL), await store.read(Kind.NOTICE)) == ({}, {"new": {"a": 1}})


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but something that its owner wants to keep")
    with pytest.raises(StoreUnavailable):
        asyncio.run(SqliteStore(path).read(Kind.MODEL))
    assert path.read_text().startswith("not a database")


async def test_a_full_disk_is_an_error_and_changes_nothing(path: Path) -> None:
    store = SqliteStore(path)
    await store.put(Kind.MODEL, "a", 1)
    assert store._connection is not None
    # As many pages as the database has now: SQLite then says what it says on a full disk.
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable):
        await store.put(Kind.MODEL, "b", "x" * 100_000)
    assert await store.read(Kind.MODEL) == {"a": 1}


async def test_a_change_cut_off_before_its_commit_is_not_there_and_one_that_was_acknowledged_is(path: Path) -> None:
    await SqliteStore(path).put(Kind.MODEL, "a", 1)
    half = sqlite3.connect(path)
    half.execute("INSERT INTO records VALUES ('model', 'half', '1')")
    half.close()
    assert await SqliteStore(path).read(Kind.MODEL) == {"a": 1}
