"""The store in one SQLite file.

A change is on the disk when `write` returns (WAL journal, `synchronous=FULL`), so a kill at any time loses nothing that
was acknowledged. SQLite blocks, so each call runs in one thread of the store's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from catalog.errors import StoreUnavailable
from deployments.manager.store import NOT_STORED, Kind, Record, Store

logger = logging.getLogger("ray.serve")

BUSY_TIMEOUT_S = 5

_PUT = (
    "INSERT INTO records (kind, name, value) VALUES (?, ?, ?)"
    " ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value"
)
_DELETE = "DELETE FROM records WHERE kind = ? AND name = ?"

_T = TypeVar("_T")


class SqliteStore(Store):
    """The records in a file, which is made with its folder where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def read(self, kind: Kind) -> dict[str, Any]:
        def select(connection: sqlite3.Connection) -> dict[str, Any]:
            rows = connection.execute("SELECT name, value FROM records WHERE kind = ? ORDER BY rowid", (kind,))
            return {name: json.loads(value) for name, value in rows}

        return await self._run(select)

    async def write(self, *records: Record) -> None:
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
            raise StoreUnavailable(NOT_STORED) from None


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
