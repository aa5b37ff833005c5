"""The queue in front of a model: requests go on while its replicas have room, and wait in a fair order while not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from catalog.catalog import Target, VariantSpec
from catalog.errors import QueueFull
from catalog.replicas import ReplicaReport
from deployments.gateway.cold_start import FIRST_COMMENT_AFTER_S
from deployments.gateway.exchange import Exchange, Reply
from deployments.gateway.fleet import Fleet
from deployments.gateway.tracing import traced
from router.admission import FairQueue, Rate, Ticket, Wish

# Whatever news were missed: nobody waits for longer than this while there is room.
LOOK_AGAIN_S = 1.0


@dataclass(slots=True)
class _Line:
    """The requests to one set of variants: those that run and those that wait."""

    variants: tuple[VariantSpec, ...]
    max_ongoing: int
    num_running: int = 0
    queue: FairQueue[asyncio.Future[None]] = field(default_factory=FairQueue)
    rate: Rate = field(default_factory=Rate)


class Admission:
    """Lets requests to a model's replicas, `max_ongoing_per_replica` to each, and has `max_queued_requests` wait.

    A model that has no replica yet gets one replica's worth of requests, which start it. Each gateway counts and queues
    its own requests.
    """

    def __init__(
        self, fleet: Fleet, comment_interval_s: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fleet = fleet
        self._comment_interval_s = comment_interval_s
        self._clock = clock
        self._lines: dict[tuple[str, ...], _Line] = {}
        fleet.on_news(self._look_again)

    @property
    def num_queued(self) -> dict[str, int]:
        """Waiting requests by the model whose replicas they wait for."""
        queued: dict[str, int] = {}
        for line in self._lines.values():
            model = line.variants[0].model
            queued[model] = queued.get(model, 0) + len(line.queue)
        return queued

    @asynccontextmanager
    async def admitted(
        self, target: Target, variants: tuple[VariantSpec, ...], exchange: Exchange, tokens: int, reply: Reply | None
    ) -> AsyncIterator[None]:
        """Wait for a place among the requests to these variants, and keep it while the block runs.

        With a `reply` (a stream's) a wait is told in comments. Raises QueueFull.
        """
        key = tuple(variant.key for variant in variants)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(variants, target.queue.max_ongoing_per_replica)
        line.max_ongoing = target.queue.max_ongoing_per_replica
        if len(line.queue) or not self._has_room(line):
            begun_s = self._clock()
            with traced(exchange, "queue"):
                await self._wait(line, target, exchange, tokens, reply)
            exchange.queued_s = self._clock() - begun_s
        else:
            line.num_running += 1
        try:
            yield
        finally:
            line.num_running -= 1
            line.rate.finished(self._clock())
            self._admit(line)
            if not line.num_running and not len(line.queue):
                self._lines.pop(key, None)

    async def _wait(self, line: _Line, target: Target, exchange: Exchange, tokens: int, reply: Reply | None) -> None:
        """Queue up, and return with a place. Raises QueueFull where there is none, or none in time."""
        rules, caller = target.queue, exchange.caller
        expected_s = line.rate.wait_s(len(line.queue), self._clock())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wish = Wish(caller.tenant, tokens, caller.priority, caller.weight)
        capacity = rules.max_queued_requests
        if expected_s is not None and expected_s > rules.max_queue_wait_s:
            # More wait than will be served in time: only who goes before one of them may still come in.
            capacity = min(capacity, len(line.queue))
        ticket, evicted = line.queue.place(wish, turn, capacity)
        if evicted is not None and not evicted.item.done():
            evicted.item.set_exception(self._full(line, "A request of a higher rank took this one's place."))
        if ticket is None:
            raise self._full(line, f"As many requests wait for {target.name} as may wait.")
        try:
            await self._until(turn, line, ticket, rules.max_queue_wait_s, reply)
        except BaseException:
            line.queue.leave(ticket)
            if turn.done() and turn.exception() is None:
                # The place came in the moment in which the client left: the next one gets it.
                line.num_running -= 1
                self._admit(line)
            raise

    async def _until(
        self,
        turn: asyncio.Future[None],
        line: _Line,
        ticket: Ticket[asyncio.Future[None]],
        max_wait_s: float,
        reply: Reply | None,
    ) -> None:
        waited_s = counted_s = told_s = 0.0
        told_after_s = FIRST_COMMENT_AFTER_S
        while True:
            begun_s = self._clock()
            await asyncio.wait({turn}, timeout=min(LOOK_AGAIN_S, max_wait_s))
            if turn.done():
                return turn.result()
            step_s = self._clock() - begun_s
            waited_s += step_s
            counted_s += step_s if self._ready(line) else 0.0
            if counted_s >= max_wait_s:
                raise self._full(line, f"The request has waited for {max_wait_s:g} s.")
            self._admit(line)
            if reply is not None and waited_s - told_s >= told_after_s:
                told_s, told_after_s = waited_s, self._comment_interval_s()
                await reply.comment(f"raymux queued before={line.queue.position(ticket)} waited_s={waited_s:.0f}")

    def _full(self, line: _Line, why: str) -> QueueFull:
        retry_after_s = line.rate.wait_s(len(line.queue), self._clock()) or 1.0
        return QueueFull(f"{why} Try again in {max(1, round(retry_after_s))} s.", retry_after_s=retry_after_s)

    def _admit(self, line: _Line) -> None:
        """Give the places that are free to those whose turn it is."""
        while len(line.queue) and self._has_room(line):
            ticket = line.queue.next()
            if ticket is not None and not ticket.item.done():
                line.num_running += 1
                ticket.item.set_result(None)

    def _look_again(self) -> None:
        for line in self._lines.values():
            self._admit(line)

    def _has_room(self, line: _Line) -> bool:
        """Whether a replica could take one more, or the model is cold and its first replica will."""
        ready = self._ready(line)
        if line.num_running >= line.max_ongoing * max(1, len(ready)):
            return False
        return not ready or any(self._fleet.num_ongoing(replica) < line.max_ongoing for replica in ready)

    def _ready(self, line: _Line) -> list[ReplicaReport]:
        return [replica for variant in line.variants for replica in self._fleet.ready(variant)]
