"""Notices what becomes of models, and has the outbox tell the receivers of webhooks.

Where a model stands is stored in one transaction with the event that says so. So a manager that is killed tells nothing
twice and forgets nothing, and its successor tells what changed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import import_module

from autoscaling.notices import Notice, Standing, notice, standing
from catalog.errors import StoreUnavailable
from catalog.replicas import VariantState
from catalog.webhooks import ReceiverSettings
from deployments.manager.entries import work
from deployments.manager.keeper import VariantKeeper
from deployments.manager.outbox import Outbox, OutboxEntry, Outgoing, Send
from deployments.manager.store import Kind, Record, Store

INTERVAL_S = 1.0


class Notices:
    """Owns where each model stands; one that the store does not know is cold. `has_news` is set when one may move."""

    def __init__(
        self,
        store: Store,
        keepers: Iterable[VariantKeeper],
        has_news: asyncio.Event,
        send: Send | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keepers = keepers
        self._has_news = has_news
        self._clock = clock
        self._outbox = Outbox(store, _late_sender() if send is None else send, clock)
        self._standings: dict[str, Standing] = {}
        self._events: list[Outgoing] = []
        self._records: list[Record] = []

    async def restore(self) -> None:
        """Take over what the store holds."""
        records = await self._store.read(Kind.STANDING)
        self._standings = {model: Standing(text) for model, text in records.items()}
        await self._outbox.restore()

    def follow(self, receivers: Iterable[ReceiverSettings]) -> None:
        """Tell these from now on."""
        self._outbox.follow(receivers)

    async def tell(self, events: Iterable[Outgoing], *records: Record) -> None:
        """Have receivers told of further events, and write records with them: all or, with StoreUnavailable, none."""
        await self._outbox.take(events, *records)

    def entries(self, most: int | None = None) -> list[OutboxEntry]:
        """What receivers were told or are still to be told, newest first."""
        return self._outbox.entries(most)

    async def run(self) -> None:
        """Look when there is news and once a second, and send, for ever."""
        self._outbox.begin()
        try:
            await work(self.step, self._has_news)
        finally:
            self._outbox.end()

    async def step(self) -> float:
        """Note and write what has changed. Returns the seconds until the next look.

        While the store fails, what has been noted waits for the next step.
        """
        self._observe()
        if self._records:
            await self._write()
        return INTERVAL_S

    async def _write(self) -> None:
        events, records = list(self._events), list(self._records)
        try:
            await self._outbox.take(events, *records)
        except StoreUnavailable:
            return
        del self._events[: len(events)]
        del self._records[: len(records)]
        await self._outbox.tidy()

    def _observe(self) -> None:
        models: defaultdict[str, list[VariantKeeper]] = defaultdict(list)
        for keeper in self._keepers:
            models[keeper.spec.model].append(keeper)
        now_s = self._clock()
        for model, keepers in models.items():
            before = self._standings.get(model, Standing.COLD)
            if before is Standing.COLD and all(keeper.state is VariantState.COLD for keeper in keepers):
                # Most of a thousand models.
                continue
            statuses = [keeper.status() for keeper in keepers]
            after = standing(statuses, now_s) or before
            if after is not before:
                self._stand(model, after)
                if (due := notice(model, statuses, before, after, now_s)) is not None:
                    self._events.append(_outgoing(due))
        for model in self._standings.keys() - models.keys():
            # It has left the catalog.
            self._stand(model, Standing.COLD)

    def _stand(self, model: str, now: Standing) -> None:
        """A model that is cold needs no record."""
        if now is Standing.COLD:
            self._standings.pop(model, None)
        else:
            self._standings[model] = now
        self._records.append(Record(Kind.STANDING, model, None if now is Standing.COLD else str(now)))


def _late_sender() -> Send:
    """A sender that is made with the first event: aiohttp takes long to import, and most managers have no receivers."""
    sender: Send | None = None

    async def send(receiver: ReceiverSettings, entry: OutboxEntry) -> None:
        nonlocal sender
        if sender is None:
            module = await asyncio.to_thread(import_module, "deployments.manager.sender")
            by_http: Callable[[], Send] = module.Sender
            sender = sender or by_http()
        await sender(receiver, entry)

    return send


def _outgoing(due: Notice) -> Outgoing:
    at = datetime.fromtimestamp(due.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps({"type": due.type, "timestamp": at, "data": due.data})
    return Outgoing(id=f"msg_{uuid.uuid4().hex}", type=due.type, body=body)
