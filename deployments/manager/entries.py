"""Events on their way in or out: in the store until they are done or given up, and remembered for a week after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from catalog.errors import StoreUnavailable
from deployments.manager.store import Kind, Record, Store

# An event that comes again within this time is known; a sender's own retries end long before.
KEPT_S = 7 * 86_400.0
MAX_KEPT = 10_000
IDLE_S = 60.0


class Outcome(StrEnum):
    """What has become of an event."""

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event, since `received_s` in the manager's hands; times are seconds since the epoch.

    `error` is the code of the last failure. One that is pending is tried (again) from `due_s` on.
    """

    id: str
    type: str
    received_s: float
    outcome: Outcome = Outcome.PENDING
    num_attempts: int = 0
    due_s: float = 0.0
    error: str = ""

    @property
    def key(self) -> str:
        """Its name in the store."""
        return self.id


_EntryT = TypeVar("_EntryT", bound=Entry)


def tried(entry: _EntryT, now_s: float, *, error: str = "", wait_s: float | None = None) -> _EntryT:
    """The entry after one more attempt: without an error it is done, else due after `wait_s`, without that given up."""
    entry = replace(entry, num_attempts=entry.num_attempts + 1, error=error)
    if not error:
        return replace(entry, outcome=Outcome.DONE)
    return replace(entry, outcome=Outcome.FAILED) if wait_s is None else replace(entry, due_s=now_s + wait_s)


class Entries(Generic[_EntryT]):
    """The entries of one kind, in memory and in the store."""

    def __init__(self, store: Store, kind: Kind, entry_type: type[_EntryT], clock: Callable[[], float]) -> None:
        self._store = store
        self._kind = kind
        self._type = entry_type
        self._clock = clock
        self._entries: dict[str, _EntryT] = {}
        self._unwritten: set[str] = set()

    async def restore(self) -> None:
        """Take over what the store holds."""
        records = await self._store.read(self._kind)
        self._entries = {
            key: self._type(**{**each, "outcome": Outcome(each["outcome"])}) for key, each in records.items()
        }

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def newest(self, most: int | None = None) -> list[_EntryT]:
        """What is known, newest first."""
        return sorted(self._entries.values(), key=lambda each: -each.received_s)[:most]

    def pending(self) -> list[_EntryT]:
        """What is still to be done, in the order it came. What is not written yet may still not come to be."""
        pending = (
            each
            for each in self._entries.values()
            if each.outcome is Outcome.PENDING and each.key not in self._unwritten
        )
        return sorted(pending, key=lambda each: each.received_s)

    async def add(self, entries: Iterable[_EntryT], *others: Record) -> None:
        """Take entries, and write other records with them: all or, with StoreUnavailable, none."""
        added = {entry.key: entry for entry in entries}
        # Known at once, so that a second delivery beside this one is not taken as well.
        self._entries |= added
        self._unwritten |= added.keys()
        try:
            await self._store.write(*(self._record(entry) for entry in added.values()), *others)
        except StoreUnavailable:
            for key in added:
                del self._entries[key]
            raise
        finally:
            self._unwritten -= added.keys()

    async def note(self, entry: _EntryT) -> None:
        """What has become of an entry. Unless it can be written, the work is done again after a restart."""
        self._entries[entry.key] = entry
        try:
            await self._store.write(self._record(entry))
        except StoreUnavailable:
            # The store has logged it.
            pass

    async def forget_old(self) -> None:
        """Drop what ended a week ago, or so many entries ago."""
        ended = [each for each in self.newest() if each.outcome is not Outcome.PENDING]
        old = [each for each in ended if each.received_s < self._clock() - KEPT_S]
        await self.drop({each.key: each for each in (*old, *ended[MAX_KEPT:])}.values())

    async def drop(self, entries: Iterable[_EntryT]) -> None:
        """Know them no more."""
        for entry in entries:
            try:
                await self._store.delete(self._kind, entry.key)
            except StoreUnavailable:
                return
            self._entries.pop(entry.key, None)

    def _record(self, entry: _EntryT) -> Record:
        fields: dict[str, Any] = asdict(entry)
        return Record(self._kind, entry.key, fields)


async def work(step: Callable[[], Awaitable[float]], has_news: asyncio.Event) -> None:
    """Take steps for ever: the next one when there is news, or after the seconds that the last one returned."""
    while True:
        has_news.clear()
        wait_s = await step()
        try:
            # `wait_for` of Python 3.11 swallows a cancellation that comes together with the news.
            async with asyncio.timeout(wait_s):
                await has_news.wait()
        except TimeoutError:
            continue
