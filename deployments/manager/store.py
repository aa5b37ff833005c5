"""What the manager must not forget: JSON records by kind and name, in a SQLite file or in Redis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any, NamedTuple

# For the caller whose change it was.
NOT_STORED = "The change could not be stored, so nothing has changed; try again."


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
    FILE = "file"
    JOB = "job"
    JOB_EVENT = "job_event"


class Record(NamedTuple):
    """What is to be in the store from now on: a value for JSON under a kind and name, or nothing (None)."""

    kind: Kind
    name: str
    value: Any


class Store(ABC):
    """The records, by kind and then by name. Every method may raise StoreUnavailable; then nothing has changed."""

    @abstractmethod
    async def read(self, kind: Kind) -> dict[str, Any]:
        """All records of a kind, by name, in the order they came."""

    @abstractmethod
    async def write(self, *records: Record) -> None:
        """Make several changes, all or none."""

    async def put(self, kind: Kind, name: str, value: Any = True) -> None:
        """Add or replace a record."""
        await self.write(Record(kind, name, value))

    async def delete(self, kind: Kind, name: str) -> None:
        """Forget a record; nothing happens if there is none."""
        await self.write(Record(kind, name, None))
