"""How many requests may be sent a second time: a share of all requests, so that retries never make a bad hour worse."""

from __future__ import annotations

RETRY_RATIO = 0.2
# What an idle gateway may retry at once, for example when a replica dies with its requests; comes back over time.
RESERVE = 100.0
RESERVE_PER_S = 10.0


class RetryBudget:
    """A balance that requests fill and retries use."""

    def __init__(self) -> None:
        self._balance = RESERVE
        self._at_s: float | None = None

    def deposit(self) -> None:
        """A request has come."""
        self._balance = min(RESERVE, self._balance + RETRY_RATIO)

    def withdraw(self, now_s: float) -> bool:
        """Whether one more retry may be made; it is then counted."""
        if self._at_s is not None:
            self._balance = min(RESERVE, self._balance + (now_s - self._at_s) * RESERVE_PER_S)
        self._at_s = now_s
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
