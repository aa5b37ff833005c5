"""Events for receivers of webhooks: kept until each receiver, apart from the others, has taken or missed them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from catalog.webhooks import NoticeType, ReceiverSettings
from deployments.manager.entries import IDLE_S, Entries, Entry, Outcome, tried, work
from deployments.manager.store import Kind, Record, Store
from router.webhooks import retry_after_s

logger = logging.getLogger("ray.serve")

# Of one receiver; what is older than so many others is news no more.
MAX_PENDING = 1_000


class NotDelivered(Exception):
    """A receiver did not take an event; `code` says why, and `is_final` that it never will."""

    def __init__(self, code: str, *, is_final: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.is_final = is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An event for whoever wants its type; `body` is its JSON as it is signed and sent."""

    id: str
    type: NoticeType
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry(Entry):
    """One event for one receiver."""

    receiver: str
    body: str

    @property
    def key(self) -> str:
        """Every receiver of an event gets the same id."""
        return f"{self.id} {self.receiver}"


Send = Callable[[ReceiverSettings, OutboxEntry], Awaitable[None]]


class Outbox:
    """`send` raises NotDelivered; it may be called twice for one event, when the manager dies before that is noted."""

    def __init__(self, store: Store, send: Send, clock: Callable[[], float] = time.time) -> None:
        self._send = send
        self._clock = clock
        self._entries = Entries(store, Kind.NOTICE, OutboxEntry, clock)
        self._lanes: dict[str, Lane] = {}
        self._is_sending = False

    async def restore(self) -> None:
        """Take over what the store holds."""
        await self._entries.restore()

    def entries(self, most: int | None = None) -> list[OutboxEntry]:
        """What is known, newest first."""
        return self._entries.newest(most)

    def lanes(self) -> list[Lane]:
        """One for each receiver."""
        return list(self._lanes.values())

    def follow(self, receivers: Iterable[ReceiverSettings]) -> None:
        """Serve these receivers from now on; what those that leave were still to get is dropped."""
        before, self._lanes = self._lanes, {}
        for receiver in receivers:
            lane = before.pop(receiver.url, None) or Lane(receiver, self._entries, self._send, self._clock)
            lane.receiver = receiver
            self._lanes[receiver.url] = lane
        for lane in before.values():
            lane.end()
        if self._is_sending:
            self.begin()

    def begin(self) -> None:
        """Send in the background, until `end`."""
        self._is_sending = True
        for lane in self.lanes():
            lane.begin()

    def end(self) -> None:
        """Send nothing more."""
        for lane in self.lanes():
            lane.end()

    async def take(self, events: Iterable[Outgoing], *others: Record) -> None:
        """Keep events, and write other records with them: all or, with StoreUnavailable, none."""
        now_s = self._clock()
        entries = [
            OutboxEntry(id=event.id, type=event.type, received_s=now_s, receiver=lane.receiver.url, body=event.body)
            for event in events
            for lane in self.lanes()
            if event.type in lane.receiver.events
        ]
        await self._entries.add(entries, *others)
        for lane in self.lanes():
            lane.has_news.set()

    async def tidy(self) -> None:
        """Forget what is old, and what has no receiver any more; give up what too much has come after."""
        await self._entries.forget_old()
        pending = self._entries.pending()
        await self._entries.drop([each for each in pending if each.receiver not in self._lanes])
        for url in self._lanes:
            for entry in [each for each in pending if each.receiver == url][:-MAX_PENDING]:
                logger.warning("webhook %s is given up: %d newer ones wait", entry.id, MAX_PENDING)
                await self._entries.note(replace(entry, outcome=Outcome.FAILED, error="too_many_waiting"))


class Lane:
    """One receiver's events, in their order: each waits until the one before it was taken or given up."""

    def __init__(
        self, receiver: ReceiverSettings, entries: Entries[OutboxEntry], send: Send, clock: Callable[[], float]
    ) -> None:
        self.receiver = receiver
        self.has_news = asyncio.Event()
        self._entries = entries
        self._send = send
        self._clock = clock
        self._running: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Send in the background, until `end`. Nothing happens if it has begun."""
        if self._running is None:
            self._running = asyncio.create_task(work(self.step, self.has_news))

    def end(self) -> None:
        """Send nothing more."""
        if self._running is not None:
            self._running.cancel()

    async def step(self) -> float:
        """Send what is due. Returns the seconds until something else will be."""
        while mine := [each for each in self._entries.pending() if each.receiver == self.receiver.url]:
            wait_s = mine[0].due_s - self._clock()
            if wait_s > 0:
                return wait_s
            await self._try(mine[0])
        return IDLE_S

    async def _try(self, entry: OutboxEntry) -> None:
        try:
            await self._send(self.receiver, entry)
            outcome = tried(entry, self._clock())
        except NotDelivered as refusal:
            wait_s = None if refusal.is_final else retry_after_s(entry.num_attempts + 1)
            outcome = tried(entry, self._clock(), error=refusal.code, wait_s=wait_s)
        except Exception:
            logger.exception("sending webhook %s failed", entry.id)
            outcome = tried(entry, self._clock(), error="internal_error", wait_s=retry_after_s(entry.num_attempts + 1))
        if outcome.error:
            is_over = outcome.outcome is Outcome.FAILED
            # The host alone: the path of a receiver may be known to itself only.
            words = (entry.id, self.receiver.host, outcome.error, "is given up" if is_over else "is tried again")
            logger.warning("webhook %s (%s) to %s: %s; it %s", entry.type, *words)
        await self._entries.note(outcome)
