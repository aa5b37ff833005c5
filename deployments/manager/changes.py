"""What gateways watch: a number that grows with each change, and a wait for the next one."""

from __future__ import annotations

import asyncio
import time


class Changes:
    """Versions begin at the time, so that a new manager's are later than the last one's."""

    def __init__(self) -> None:
        self.version = self.catalog_version = int(time.time() * 1000)
        # Set when a variant has come into another state; whoever waits for that clears it.
        self.has_new_state = asyncio.Event()
        self._next = asyncio.Event()

    def note(self, is_new_state: bool = False) -> None:
        """Something has changed, perhaps a variant's state."""
        self.version += 1
        if is_new_state:
            self.has_new_state.set()
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
