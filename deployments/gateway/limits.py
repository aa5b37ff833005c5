"""Rate limits of callers: taken before a request goes on, and corrected when what it really used is known."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from cachetools import LRUCache

from catalog.errors import RateLimitExceeded
from catalog.settings import GatewaySettings
from deployments.background import Background
from deployments.gateway.exchange import Exchange
from router.limits import Amount, Ceiling, Verdict, Window

logger = logging.getLogger("ray.serve")

# Callers beyond this many lose the window of the one that was away longest.
MAX_WINDOWS = 100_000


class Windows(Protocol):
    """Where windows are kept. `name` is a caller and an endpoint."""

    async def take(self, name: str, cost: Amount, ceiling: Ceiling) -> tuple[Verdict, float]:
        """Use `cost` if it is free; also returns when, in the windows' own time."""
        ...

    async def correct(self, name: str, tokens: float, taken_s: float) -> None: ...


class LocalWindows:
    """Windows in this gateway's memory."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._windows: LRUCache[str, Window] = LRUCache(MAX_WINDOWS)

    async def take(self, name: str, cost: Amount, ceiling: Ceiling) -> tuple[Verdict, float]:
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = Window()
        now_s = self._clock()
        return window.take(cost, ceiling, now_s), now_s

    async def correct(self, name: str, tokens: float, taken_s: float) -> None:
        window = self._windows.get(name)
        if window is not None:
            window.correct(tokens, taken_s, self._clock())


class Limits:
    """Applies each caller's limits.

    A caller is its key, or without keys its address; without keys only limits that the configuration sets apply.
    """

    def __init__(self, settings: Callable[[], GatewaySettings], windows: Callable[[], Windows]) -> None:
        self._settings = settings
        self._windows = windows
        self._background = Background()

    @asynccontextmanager
    async def taken(self, exchange: Exchange, endpoint: str, tokens: int) -> AsyncIterator[None]:
        """Count a request and the tokens it is likely to use, and what it did use once the block ends.

        Puts `x-ratelimit-*` into the exchange. Raises RateLimitExceeded.
        """
        ceiling = self._ceiling(exchange)
        if ceiling == Ceiling(None, None):
            yield
            return
        name = f"{exchange.caller.key_id or exchange.address}|{endpoint}"
        reserved = min(tokens, ceiling.tokens) if ceiling.tokens is not None else 0
        verdict, taken_s = await self._windows().take(name, Amount(1, reserved), ceiling)
        exchange.headers.update(rate_headers(verdict, ceiling))
        if not verdict.is_admitted:
            raise RateLimitExceeded(
                f"This caller may send {_told(ceiling)} a minute to this endpoint; try again in"
                f" {max(1, round(verdict.retry_after_s))} s.",
                retry_after_s=verdict.retry_after_s,
            )
        try:
            yield
        finally:
            if ceiling.tokens is not None:
                self._correct(name, used_tokens(exchange, reserved) - reserved, taken_s)

    def _ceiling(self, exchange: Exchange) -> Ceiling:
        limits = exchange.caller.limits
        if limits is None:
            settings = self._settings()
            if exchange.caller.key_id is None and "limits" not in settings.model_fields_set:
                return Ceiling(None, None)
            limits = settings.limits
        return Ceiling(limits.requests_per_minute, limits.tokens_per_minute)

    def _correct(self, name: str, tokens: float, taken_s: float) -> None:
        """In the background: nobody waits for it, and a caller that has left must not keep it from happening."""
        if tokens == 0:
            return
        self._background.start(self._windows().correct(name, tokens, taken_s))


def used_tokens(exchange: Exchange, reserved: int) -> int:
    """What a request has used as far as anybody knows.

    Without a count it is what was reserved if the reply has begun, because the engine then worked for it, else nothing.
    """
    if exchange.usage is not None:
        return exchange.usage.prompt_tokens + exchange.usage.completion_tokens
    return reserved if exchange.first_byte_ms is not None else 0


def rate_headers(verdict: Verdict, ceiling: Ceiling) -> dict[str, str]:
    """The headers of OpenAI's API reference, for each limit that there is."""
    headers: dict[str, str] = {}
    rows = (
        ("requests", ceiling.requests, verdict.requests_left, verdict.requests_reset_s),
        ("tokens", ceiling.tokens, verdict.tokens_left, verdict.tokens_reset_s),
    )
    for kind, limit, left, reset_s in rows:
        if limit is not None and left is not None and reset_s is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(limit)
            headers[f"x-ratelimit-remaining-{kind}"] = f"{left:.0f}"
            headers[f"x-ratelimit-reset-{kind}"] = _duration(reset_s)
    return headers


def _duration(seconds: float) -> str:
    """As OpenAI writes it: `1m30s`, `12s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _told(ceiling: Ceiling) -> str:
    parts = []
    if ceiling.requests is not None:
        parts.append(f"{ceiling.requests} requests")
    if ceiling.tokens is not None:
        parts.append(f"{ceiling.tokens} tokens")
    return " and ".join(parts)
