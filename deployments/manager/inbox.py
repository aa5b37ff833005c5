"""Events of webhooks: kept before the sender is answered, then done one after the other, each once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from catalog.errors import RaymuxError, StoreUnavailable
from deployments.manager.store import Kind, Store
from router.webhooks import Event, retry_after_s

logger = logging.getLogger("ray.serve")

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


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One event; times are seconds since the epoch. `error` is the code of the last failure."""

    id: str
    type: str
    verb: str | None
    data: dict[str, Any]
    received_s: float
    outcome: Outcome = Outcome.PENDING
    num_attempts: int = 0
    due_s: float = 0.0
    error: str = ""


Apply = Callable[[str, dict[str, Any]], Awaitable[RaymuxError | None]]


class Inbox:
    """`apply` does what an event asks for, which may be asked for twice: a manager can die between doing and noting."""

    def __init__(self, store: Store, apply: Apply, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._apply = apply
        self._clock = clock
        self._entries: dict[str, InboxEntry] = {}
        self._has_news = asyncio.Event()

    async def restore(self) -> None:
        """Take over what the store holds."""
        records = await self._store.read(Kind.EVENT)
        self._entries = {
            id: InboxEntry(**{**each, "outcome": Outcome(each["outcome"])}) for id, each in records.items()
        }

    def entries(self) -> list[InboxEntry]:
        """What is known, newest first."""
        return sorted(self._entries.values(), key=lambda each: -each.received_s)

    async def take(self, id: str, event: Event) -> bool:
        """Keep an event; returns whether it is new. Raises StoreUnavailable, and then the sender sends it again."""
        if id in self._entries:
            return False
        outcome = Outcome.PENDING if event.verb else Outcome.IGNORED
        entry = InboxEntry(id, event.type, event.verb, event.data, self._clock(), outcome)
        # Known at once, so that a second delivery beside this one is not taken as well.
        self._entries[id] = entry
        try:
            await self._put(entry)
        except StoreUnavailable:
            del self._entries[id]
            raise
        self._has_news.set()
        return True

    async def run(self) -> None:
        """Do what is pending, for ever."""
        while True:
            self._has_news.clear()
            wait_s = await self.step()
            try:
                await asyncio.wait_for(self._has_news.wait(), wait_s)
            except TimeoutError:
                continue

    async def step(self) -> float:
        """Do what is due, oldest first. Returns the seconds until something else will be."""
        await self._forget_old()
        now_s, next_s = self._clock(), self._clock() + IDLE_S
        for entry in sorted(self._entries.values(), key=lambda each: each.received_s):
            if entry.outcome is not Outcome.PENDING:
                continue
            if entry.due_s <= now_s:
                entry = await self._do(entry)
            if entry.outcome is Outcome.PENDING:
                next_s = min(next_s, entry.due_s)
        return max(0.05, next_s - self._clock())

    async def _do(self, entry: InboxEntry) -> InboxEntry:
        assert entry.verb is not None
        try:
            error = await self._apply(entry.verb, entry.data)
        except Exception:
            logger.exception("event %s of type %s failed", entry.id, entry.type)
            error = StoreUnavailable("")
        entry = replace(entry, num_attempts=entry.num_attempts + 1)
        wait_s = retry_after_s(entry.num_attempts)
        if error is None:
            entry = replace(entry, outcome=Outcome.DONE, error="")
        elif error.status >= 500 and wait_s is not None:
            entry = replace(entry, due_s=self._clock() + wait_s, error=error.code)
        else:
            logger.warning("event %s of type %s is given up: %s", entry.id, entry.type, error.code)
            entry = replace(entry, outcome=Outcome.FAILED, error=error.code)
        self._entries[entry.id] = entry
        try:
            await self._put(entry)
        except StoreUnavailable:
            # It is done again after a restart, which does no harm.
            pass
        return entry

    async def _forget_old(self) -> None:
        ended = [each for each in self.entries() if each.outcome is not Outcome.PENDING]
        old = [each for each in ended if each.received_s < self._clock() - KEPT_S]
        for entry in {each.id: each for each in (*old, *ended[MAX_KEPT:])}.values():
            try:
                await self._store.delete(Kind.EVENT, entry.id)
            except StoreUnavailable:
                return
            del self._entries[entry.id]

    async def _put(self, entry: InboxEntry) -> None:
        await self._store.put(Kind.EVENT, entry.id, asdict(entry))
