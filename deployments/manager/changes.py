"""What gateways watch: a number that grows with each change, and a wait for the next one."""

from __future__ import annotations

import asyncio
import time


class Changes:
    """Versions begin at the time, so that a new manager's are later than the last one's."""

    def __init__(self) -> None:
        self.version = self.catalog_version = int(time.time() * 1000)
        self._next = asyncio.Event()

    def note(self) -> None:
        """Something has changed."""
        self.version += 1
        self._next.set()
        self._next = asyncio.Event()

    def note_catalog(self) -> None:
        """The catalog has; `note` follows when all that belongs to it is done."""
        self.catalog_version += 1

    async def after(self, version: int, timeout_s: float) -> None:
        """Return when the version is another one, or after the timeout."""
        if self.version != version:
            return
        try:
            await asyncio.wait_for(self._next.wait(), timeout_s)
        except TimeoutError:
            pass
