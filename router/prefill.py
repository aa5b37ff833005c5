"""How long prompts take: what prefilling costs, learned from answers, and how long a replica's queue is.

An engine computes prompts one after the other, in the order in which they come (vLLM's scheduler: first come, first
served, several small ones in one step). So the time from one first token to the next, or from a request's arrival at an
empty queue to its first token, is what its own prompt took. Times are seconds of one clock.
"""

from __future__ import annotations

from dataclasses import dataclass

# What is assumed before anything has been seen: some five thousand tokens a second.
ASSUMED_BYTES_PER_S = 20_000.0
# Old observations count for less: the last two hundred matter for the speed of a model, the last fifty for how its
# replicas differ.
_FADE, _FADE_OF_REPLICA = 0.995, 0.98
# Fewer observations than this tell no fixed cost from a cost for each byte.
_ENOUGH = 8
# A replica is taken for as fast as the others until more than about this many prompts say otherwise.
_DOUBT = 5


class PrefillCost:
    """The seconds a prompt takes once it is its turn: a fixed part, and a part for each byte that no cache holds.

    Least squares over faded observations: seconds = base + slope × bytes.
    """

    def __init__(self) -> None:
        self._num = self._bytes = self._bytes2 = self._s = self._bytes_s = 0.0
        self.base_s, self.slope = 0.0, 1 / ASSUMED_BYTES_PER_S
        self.mean_s = 0.0

    def seconds(self, num_bytes: float) -> float:
        """What so many bytes take."""
        return self.base_s + self.slope * num_bytes

    def observe(self, num_bytes: float, seconds: float) -> None:
        """They have taken this long."""
        self._num = self._num * _FADE + 1
        self._bytes = self._bytes * _FADE + num_bytes
        self._bytes2 = self._bytes2 * _FADE + num_bytes**2
        self._s = self._s * _FADE + seconds
        self._bytes_s = self._bytes_s * _FADE + num_bytes * seconds
        self.mean_s = self._s / self._num
        self.base_s, self.slope = self._line()

    def _line(self) -> tuple[float, float]:
        spread = self._num * self._bytes2 - self._bytes**2
        if self._num >= _ENOUGH and spread > 1e-6 * self._num * self._bytes2:
            slope = (self._num * self._bytes_s - self._bytes * self._s) / spread
            base_s = (self._s - slope * self._bytes) / self._num
            if slope > 0 and base_s >= 0:
                return base_s, slope
        # A line through the origin, which the assumption pulls on like one observation of a second.
        return 0.0, (self._s + 1) / (self._bytes + ASSUMED_BYTES_PER_S)


@dataclass(slots=True, eq=False)
class Ticket:
    """A prompt's place in a queue: when it came, and when it should be through.

    `usual_s` is what a replica of its kind takes, `service_s` what this one is expected to; `extra_s` is what it needs
    besides, and nobody else waits for. Of a stream the first token will be seen.
    """

    num_bytes: int
    joined_s: float
    usual_s: float
    service_s: float
    extra_s: float
    through_s: float
    num_others: int
    is_stream: bool


class PrefillQueue:
    """The prompts in one replica, as far as this gateway knows: its own, and those of others that it has been told of.

    Each first token says how far the expectation was off, and what waits behind it is off by as much. `slowness` is
    what this replica takes over what others of its kind take; 1 while nothing is known.
    """

    def __init__(self) -> None:
        self._own: list[Ticket] = []
        self._empty_s = 0.0
        self._last_first_token_s = 0.0
        self._num_others = self._num_others_then = 0
        self._num = self._taken_s = self._usual_s = 0.0
        self.slowness = 1.0

    def wait_s(self, now_s: float) -> float:
        """Until a prompt that comes now would be begun. What is late is expected to be late by as much again."""
        last = next((ticket for ticket in reversed(self._own) if ticket.is_stream), None)
        late_s = now_s - last.through_s if last else 0.0
        return max(0.0, self._empty_s - now_s, late_s)

    def join(
        self, num_bytes: int, usual_s: float, now_s: float, *, extra_s: float = 0.0, is_stream: bool = True
    ) -> Ticket:
        """A prompt comes that takes so long in a replica of this kind."""
        service_s = usual_s * self.slowness
        self._empty_s = max(self._empty_s, now_s) + service_s
        through_s = self._empty_s + extra_s
        ticket = Ticket(num_bytes, now_s, usual_s, service_s, extra_s, through_s, self._num_others, is_stream)
        self._own.append(ticket)
        return ticket

    def others_joined(self, service_s: float, at_s: float) -> None:
        """A prompt of another gateway has come."""
        self._empty_s = max(self._empty_s, at_s) + service_s
        self._num_others += 1

    def first_token(self, ticket: Ticket, at_s: float) -> float | None:
        """A prompt has been computed. Returns how long that took, None where others' prompts were among it."""
        self._end(ticket, at_s - ticket.through_s)
        is_alone = self._num_others_then == self._num_others
        took_s = max(0.0, at_s - max(ticket.joined_s, self._last_first_token_s))
        self._last_first_token_s = max(at_s, self._last_first_token_s)
        self._num_others_then = self._num_others
        if not is_alone:
            return None
        if not ticket.extra_s:
            self._learn(ticket.usual_s, took_s)
        return took_s

    def left(self, ticket: Ticket, at_s: float) -> None:
        """A request has ended, and no first token of it was seen: it was broken off, or its reply came as a whole."""
        self._end(ticket, -min(ticket.service_s, max(0.0, ticket.through_s - at_s)))

    def heard(self, num_waiting: int, mean_s: float, now_s: float, *, is_idle: bool) -> None:
        """The replica has reported how many prompts wait in it, or that it has nothing to do at all."""
        if is_idle and not self._own:
            self._empty_s = min(self._empty_s, now_s)
        # Half of the mean for each: some of them have a short rest to go, and the report is older than the queue.
        self._empty_s = max(self._empty_s, now_s + num_waiting * mean_s / 2)

    def _end(self, ticket: Ticket, shift_s: float) -> None:
        """Take it out, and move what is behind it. One that is unknown is from before the replica was forgotten."""
        if ticket not in self._own:
            return
        at = self._own.index(ticket)
        del self._own[at]
        for other in self._own[at:]:
            other.through_s += shift_s
        self._empty_s += shift_s

    def _learn(self, usual_s: float, took_s: float) -> None:
        self._num = self._num * _FADE_OF_REPLICA + 1
        self._taken_s = self._taken_s * _FADE_OF_REPLICA + took_s
        self._usual_s = self._usual_s * _FADE_OF_REPLICA + usual_s
        doubt_s = _DOUBT * self._usual_s / self._num
        if self._usual_s > 0:
            self.slowness = (self._taken_s + doubt_s) / (self._usual_s + doubt_s)
