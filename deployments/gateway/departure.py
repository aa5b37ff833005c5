"""A gateway that leaves: what still runs when its grace is over ends in an error, not in a connection that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from catalog.errors import UpstreamError

POLL_S = 0.5
# For the errors' way to their clients, before Serve kills this process.
MARGIN_S = 2.0


class Departure:
    """Knows the requests that run, and ends them when Serve is about to end this gateway."""

    def __init__(self) -> None:
        self._limits: set[asyncio.Timeout] = set()
        # Whether Serve has told this gateway to leave: what has no end of its own ends now.
        self.is_leaving = False

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Around a request. Raises UpstreamError when this gateway leaves before the block has ended."""
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise UpstreamError("This gateway is being replaced; try again.", retry_after_s=1) from None

    async def follow(
        self, grace_s: Callable[[], float | None], sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    ) -> None:
        """Wait until `grace_s` says how long this gateway has left, and end what runs shortly before that is over."""
        while (left_s := grace_s()) is None:
            await sleep(POLL_S)
        self.is_leaving = True
        await sleep(max(0.0, left_s - MARGIN_S))
        now_s = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now_s)
