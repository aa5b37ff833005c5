"""Rate limits by a sliding window: what one caller has used in the last minute, and whether it may use more.

The window is approximated by two fixed ones, the running and the previous one, the latter weighted by the part of it
that the sliding window still covers. That takes four numbers a caller whatever its rate, and errs by at most what an
uneven previous minute makes of it. The same arithmetic runs inside Redis (`deployments/gateway/shared_windows.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

WINDOW_S = 60.0


class Amount(NamedTuple):
    """Requests and tokens: what something costs, or may cost at most in a minute."""

    requests: float = 0.0
    tokens: float = 0.0


NOTHING = Amount()


class Ceiling(NamedTuple):
    """What may be used in a minute; None is no limit."""

    requests: int | None
    tokens: int | None


class Verdict(NamedTuple):
    """Whether a request may go on, and what is left after it.

    `retry_after_s` is the time until the same request would be admitted, 0 where it is. The others are None where there
    is no limit; `*_reset_s` is the time until the whole limit is there again.
    """

    is_admitted: bool
    retry_after_s: float
    requests_left: float | None
    tokens_left: float | None
    requests_reset_s: float | None
    tokens_reset_s: float | None


@dataclass(slots=True)
class Window:
    """What a caller has used: `index` numbers the running minute, `running` and `previous` count."""

    index: int = 0
    running: Amount = NOTHING
    previous: Amount = NOTHING

    def take(self, cost: Amount, ceiling: Ceiling, now_s: float) -> Verdict:
        """Use `cost` if all of it is free, else nothing."""
        self._advance(now_s)
        wait_s = max(
            _wait_s(self.previous[kind], self.running[kind], cost[kind], ceiling[kind], now_s) for kind in (0, 1)
        )
        if wait_s == 0:
            self.running = Amount(self.running.requests + cost.requests, self.running.tokens + cost.tokens)
        return verdict(self.previous, self.running, ceiling, wait_s, now_s)

    def correct(self, tokens: float, taken_s: float, now_s: float) -> None:
        """Add to (or with a negative number give back) tokens that were taken at `taken_s`."""
        self._advance(now_s)
        minutes_ago = self.index - int(taken_s // WINDOW_S)
        if minutes_ago == 0:
            self.running = self.running._replace(tokens=max(0.0, self.running.tokens + tokens))
        elif minutes_ago == 1:
            self.previous = self.previous._replace(tokens=max(0.0, self.previous.tokens + tokens))

    def _advance(self, now_s: float) -> None:
        index = int(now_s // WINDOW_S)
        if index > self.index:
            self.previous = self.running if index == self.index + 1 else NOTHING
            self.running, self.index = NOTHING, index


def verdict(previous: Amount, running: Amount, ceiling: Ceiling, wait_s: float, now_s: float) -> Verdict:
    """What is left of a window that holds these."""
    left = [_left(previous[kind], running[kind], ceiling[kind], now_s) for kind in (0, 1)]
    reset_s = [_reset_s(previous[kind], running[kind], ceiling[kind], now_s) for kind in (0, 1)]
    return Verdict(wait_s == 0, wait_s, left[0], left[1], reset_s[0], reset_s[1])


def _elapsed_s(now_s: float) -> float:
    return now_s % WINDOW_S


def _used(previous: float, running: float, now_s: float) -> float:
    return previous * (1 - _elapsed_s(now_s) / WINDOW_S) + running


def _left(previous: float, running: float, limit: int | None, now_s: float) -> float | None:
    return None if limit is None else max(0.0, math.floor(limit - _used(previous, running, now_s)))


def _reset_s(previous: float, running: float, limit: int | None, now_s: float) -> float | None:
    if limit is None:
        return None
    rest_s = WINDOW_S - _elapsed_s(now_s)
    return rest_s + WINDOW_S if running > 0 else rest_s if previous > 0 else 0.0


def _wait_s(previous: float, running: float, cost: float, limit: int | None, now_s: float) -> float:
    """Seconds until `cost`, or the whole limit where it costs more, is free if nothing else is used; 0 when it is."""
    if limit is None or cost == 0:
        return 0.0
    cost, elapsed_s = min(cost, limit), _elapsed_s(now_s)
    if _used(previous, running, now_s) + cost <= limit:
        return 0.0
    free = limit - cost
    if running <= free and previous > 0:
        return _covered_until_s(free - running, previous) - elapsed_s
    return WINDOW_S - elapsed_s + _covered_until_s(free, running)


def _covered_until_s(free: float, previous: float) -> float:
    """When, from its beginning, a minute's share of the previous one has shrunk to `free`."""
    return WINDOW_S * (1 - free / previous)


def estimate_tokens(num_body_bytes: int, max_tokens: int | None) -> int:
    """What a request is likely to use, before anybody has counted: four bytes a token (English text and JSON), and the
    completion it asks for. The replica's own count replaces it when the reply has ended."""
    return math.ceil(num_body_bytes / 4) + (max_tokens if max_tokens is not None else DEFAULT_COMPLETION_TOKENS)


# Of a request that names no most: a usual answer's length, not the model's context.
DEFAULT_COMPLETION_TOKENS = 256
