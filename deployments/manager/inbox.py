"""Events of webhooks: kept before the sender is answered, then done one after the other, each once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from catalog.errors import RaymuxError, StoreUnavailable
from deployments.manager.entries import IDLE_S, Entries, Entry, Outcome, tried, work
from deployments.manager.store import Kind, Store
from router.webhooks import Event, retry_after_s

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEntry(Entry):
    """One event that was received."""

    verb: str | None
    data: dict[str, Any]


Apply = Callable[[str, dict[str, Any]], Awaitable[RaymuxError | None]]


class Inbox:
    """`apply` does what an event asks for, which may be asked for twice: a manager can die between doing and noting."""

    def __init__(self, store: Store, apply: Apply, clock: Callable[[], float] = time.time) -> None:
        self._apply = apply
        self._clock = clock
        self._entries = Entries(store, Kind.EVENT, InboxEntry, clock)
        self._has_news = asyncio.Event()

    async def restore(self) -> None:
        """Take over what the store holds."""
        await self._entries.restore()

    def entries(self, most: int | None = None) -> list[InboxEntry]:
        """What is known, newest first."""
        return self._entries.newest(most)

    async def take(self, id: str, event: Event) -> bool:
        """Keep an event; returns whether it is new. Raises StoreUnavailable, and then the sender sends it again."""
        if id in self._entries:
            return False
        outcome = Outcome.PENDING if event.verb else Outcome.IGNORED
        entry = InboxEntry(
            id=id, type=event.type, verb=event.verb, data=event.data, received_s=self._clock(), outcome=outcome
        )
        await self._entries.add([entry])
        self._has_news.set()
        return True

    async def run(self) -> None:
        """Do what is pending, for ever."""
        await work(self.step, self._has_news)

    async def step(self) -> float:
        """Do what is due, oldest first. Returns the seconds until something else will be."""
        await self._entries.forget_old()
        now_s, next_s = self._clock(), self._clock() + IDLE_S
        for entry in self._entries.pending():
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
        if error is None:
            entry = tried(entry, self._clock())
        else:
            wait_s = retry_after_s(entry.num_attempts + 1) if error.status >= 500 else None
            entry = tried(entry, self._clock(), error=error.code, wait_s=wait_s)
        if entry.outcome is Outcome.FAILED:
            logger.warning("event %s of type %s is given up: %s", entry.id, entry.type, entry.error)
        # What could not be noted is done again, which does no harm.
        await self._entries.note(entry)
        return entry
