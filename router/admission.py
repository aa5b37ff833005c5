"""Who waits for a model, in which order, and who is turned away when too many wait.

Higher priorities first. Within one priority the tenants share what the model gives by weight, counted in tokens:
start-time fair queueing (Goyal, Vin and Cheng, 1997). A request's start tag is the virtual time at which its tenant has
had what it asked for before; the lowest tag is served next. A tenant that floods a queue only moves its own tags away,
so that a newcomer of another tenant is served before them, and when the queue is full takes the last one's place.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Wish(NamedTuple):
    """What a request asks for. `tokens` is its estimated cost (at least 1), `weight` its tenant's share (above 0)."""

    tenant: str
    tokens: float
    priority: int = 0
    weight: float = 1.0


@dataclass(frozen=True, slots=True, order=True)
class Ticket(Generic[T]):
    """A place in the queue; tickets sort in the order of service."""

    rank: tuple[int, float, int]
    item: T = field(compare=False)
    tenant: str = field(compare=False)

    @property
    def start(self) -> float:
        return self.rank[1]


class FairQueue(Generic[T]):
    """At most `capacity` waiting items."""

    def __init__(self) -> None:
        self._tickets: list[Ticket[T]] = []
        self._virtual = 0.0
        self._finish: dict[str, float] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def place(self, wish: Wish, item: T, capacity: int) -> tuple[Ticket[T] | None, Ticket[T] | None]:
        """Queue an item: returns its ticket, or None where it must be turned away, and a ticket that lost its place."""
        start = max(self._virtual, self._finish.get(wish.tenant, 0.0))
        self._count += 1
        ticket = Ticket((-wish.priority, start, self._count), item, wish.tenant)
        evicted = None
        if len(self._tickets) >= capacity:
            if not self._tickets or ticket > self._tickets[-1]:
                return None, None
            evicted = self._tickets[-1]
            self.leave(evicted)
        self._finish[wish.tenant] = start + max(1.0, wish.tokens) / wish.weight
        bisect.insort(self._tickets, ticket)
        return ticket, evicted

    def next(self) -> Ticket[T] | None:
        """Take out the item that is served next, or None."""
        if not self._tickets:
            return None
        ticket = self._tickets.pop(0)
        self._virtual = max(self._virtual, ticket.start)
        self._forget()
        return ticket

    def leave(self, ticket: Ticket[T]) -> None:
        """Take out an item that waits no more; nothing when it is not there. Its tenant gets back what it cost."""
        index = bisect.bisect_left(self._tickets, ticket)
        if index == len(self._tickets) or self._tickets[index] is not ticket:
            return
        del self._tickets[index]
        if all(other.tenant != ticket.tenant or other.start < ticket.start for other in self._tickets):
            self._finish[ticket.tenant] = ticket.start
        self._forget()

    def position(self, ticket: Ticket[T]) -> int:
        """How many are served before it."""
        return bisect.bisect_left(self._tickets, ticket)

    def _forget(self) -> None:
        """An empty queue starts anew, so that nobody pays for what nobody waited for."""
        if not self._tickets:
            self._virtual = 0.0
            self._finish.clear()


class Rate:
    """How many requests a second a model finishes: an average over about the last `memory_s` seconds."""

    def __init__(self, memory_s: float = 10.0) -> None:
        self._memory_s = memory_s
        self._count = 0.0
        self._since_s: float | None = None
        self._at_s = 0.0

    def finished(self, now_s: float) -> None:
        """One more request has ended."""
        if self._since_s is None:
            self._since_s = self._at_s = now_s
        self._decay(now_s)
        self._count += 1

    def wait_s(self, num_before: int, now_s: float) -> float | None:
        """How long a request waits that has so many before it; None while too little is known."""
        if self._since_s is None or now_s - self._since_s < 1:
            return None
        self._decay(now_s)
        covered_s = min(self._memory_s, now_s - self._since_s)
        return (num_before + 1) * covered_s / self._count if self._count > 1 else None

    def _decay(self, now_s: float) -> None:
        # A count that loses one part in `memory_s` each second holds, in the steady state, that many seconds of it.
        self._count *= max(0.0, 1 - (now_s - self._at_s) / self._memory_s)
        self._at_s = now_s
