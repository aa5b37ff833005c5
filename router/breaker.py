"""A circuit breaker: what fails again and again is left alone for a while, then tried with one request.

    state       event                             next state
    closed      `failures_to_open` failures       open, for `open_s`
                in a row, or one `trip`
    open        `open_s` are over                 half open
    half open   one request is let through: it
                succeeds                          closed
                fails                             open, for twice as long (at most `max_open_s`)
                ends without telling              half open again

Refusals that mean "too much work" or "your request is wrong" are no failures: they prove that the other side lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens, and for how long; seconds."""

    failures_to_open: int = 5
    open_s: float = 5.0
    max_open_s: float = 60.0


class Breaker:
    """One circuit. Times are of one monotonic clock, in seconds."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._num_failures = 0
        self._open_s = rules.open_s
        self._open_until_s: float | None = None
        self._is_probing = False

    def state(self, now_s: float) -> BreakerState:
        """The state now."""
        if self._open_until_s is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_s < self._open_until_s else BreakerState.HALF_OPEN

    def allows(self, now_s: float) -> bool:
        """Whether a request may be sent now."""
        state = self.state(now_s)
        return state is BreakerState.CLOSED or (state is BreakerState.HALF_OPEN and not self._is_probing)

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until a request may be sent; at least 1 while another one probes."""
        return 0.0 if self.allows(now_s) else max(1.0, (self._open_until_s or now_s) - now_s)

    def begin(self, now_s: float) -> bool:
        """A request is sent, which `allows` allowed. Returns whether it is the probe, for the call that follows."""
        is_probe = self.state(now_s) is BreakerState.HALF_OPEN
        self._is_probing = self._is_probing or is_probe
        return is_probe

    def succeeded(self) -> None:
        """It was answered."""
        self._num_failures = 0
        self._open_s = self._rules.open_s
        self._open_until_s = None
        self._is_probing = False

    def failed(self, now_s: float, *, is_probe: bool = False) -> bool:
        """It was not, and the other side is to blame. Returns whether this opened the circuit."""
        if self._open_until_s is not None and not is_probe:
            # SentPrompt before the circuit opened: this is known already.
            return False
        self._num_failures += 1
        if is_probe or self._num_failures >= self._rules.failures_to_open:
            return self.trip(now_s)
        return False

    def ended(self, *, is_probe: bool = False) -> None:
        """It ended without telling anything, because its client left for instance."""
        if is_probe:
            self._is_probing = False

    def trip(self, now_s: float) -> bool:
        """Open at once. Returns whether requests were let through before."""
        if self.state(now_s) is BreakerState.OPEN:
            return False
        if self._open_until_s is not None:
            self._open_s = min(self._rules.max_open_s, self._open_s * 2)
        self._open_until_s = now_s + self._open_s
        self._is_probing = False
        return True
