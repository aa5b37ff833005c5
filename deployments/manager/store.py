"""What the manager must not forget, in one SQLite file: JSON records by kind and name.

A change is on the disk when `put` or `delete` returns (WAL journal, `synchronous=FULL`), so a kill at any time loses
nothing that was acknowledged. SQLite blocks, so each call runs in one thread of the store's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from catalog.errors import StoreUnavailable

logger = logging.getLogger("ray.serve")

BUSY_TIMEOUT_S = 5

_PUT = (
    "INSERT INTO records (kind, name, value) VALUES (?, ?, ?)"
    " ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM records WHERE kind = ? AND name = ?"

_T = TypeVar("_T")


class Kind(StrEnum):
    """What a record is about."""

    MODEL = "model"
    PROMOTION = "promotion"
    STOP = "stop"
    WARMUP = "warmup"
    HISTORY = "history"
    METRICS = "metrics"
    EVENT = "event"
    NOTICE = "notice"
    STANDING = "standing"


class Record(NamedTuple):
    """What is to be in the store from now on: a value for JSON under a kind and name, or nothing (None)."""

    kind: Kind
    name: str
    value: Any


class Store:
    """The records, by kind and then by name. Every method may raise StoreUnavailable; then nothing has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def read(self, kind: Kind) -> dict[str, Any]:
        """All records of a kind, by name."""

        def select(connection: sqlite3.Connection) -> dict[str, Any]:
            rows = connection.execute("SELECT name, value FROM records WHERE kind = ? ORDER BY rowid", (kind,))
            return {name: json.loads(value) for name, value in rows}

        return await self._run(select)

    async def put(self, kind: Kind, name: str, value: Any = True) -> None:
        """Add or replace a record."""
        await self.write(Record(kind, name, value))

    async def delete(self, kind: Kind, name: str) -> None:
        """Forget a record; nothing happens if there is none."""
        await self.write(Record(kind, name, None))

    async def write(self, *records: Record) -> None:
        """Make several changes, all or none."""
        texts = [(kind, name, None if value is None else json.dumps(value)) for kind, name, value in records]

        def change(connection: sqlite3.Connection) -> None:
            for kind, name, text in texts:
                if text is None:
                    connection.execute(_DELETE, (kind, name))
                else:
                    connection.execute(_PUT, (kind, name, text))

        await self._run(change)

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        # Shielded: a caller that leaves must not leave a change half awaited.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._do, work))

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._connection is None:
                self._connection = _open(self._path)
            with self._connection:
                return work(self._connection)
        except (sqlite3.Error, OSError) as error:
            logger.error("the store %s failed: %s", self._path.name, error)
            raise StoreUnavailable("The change could not be stored, so nothing has changed; try again.") from None


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS records"
        " (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, name))"
    )
    connection.commit()
    return connection
