"""What gateways watch: a number that grows with each change, what has changed since, and a wait for the next one."""

from __future__ import annotations

import asyncio
import secrets

# Topics of changes; the others are keys of variants.
PROMOTED = "promoted"
WARMUPS = "warmups"


class Changes:
    """Versions begin anywhere, so that those of another manager say nothing here, whatever its clock and its pace."""

    def __init__(self) -> None:
        self.version = self.catalog_version = secrets.randbits(62)
        # Set when a variant has come into another state; whoever waits for that clears it.
        self.has_new_state = asyncio.Event()
        self._next = asyncio.Event()
        # Each topic's last change, the latest last, beginning after a version at which everything was another.
        self._changed_at: dict[str, int] = {}
        self._known_from = self.version

    def note(self, topic: str, is_new_state: bool = False) -> None:
        """Something has changed, perhaps a variant's state."""
        self.version += 1
        self._changed_at.pop(topic, None)
        self._changed_at[topic] = self.version
        if is_new_state:
            self.has_new_state.set()
        self._wake()

    def note_all(self) -> None:
        """Anything may have changed."""
        self.version += 1
        self._known_from = self.version
        self._changed_at.clear()
        self._wake()

    def note_catalog(self) -> None:
        """The catalog has; `note_all` follows when all that belongs to it is done."""
        self.catalog_version += 1

    def _wake(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    def since(self, version: int) -> list[str] | None:
        """The topics that have changed since a version; None when anything may have, or it is another manager's."""
        if not self._known_from <= version <= self.version:
            return None
        topics = []
        for topic, changed_at in reversed(self._changed_at.items()):
            if changed_at <= version:
                break
            topics.append(topic)
        return topics

    async def after(self, version: int, timeout_s: float) -> None:
        """Return when the version is another one, or after the timeout."""
        if self.version != version:
            return
        try:
            await asyncio.wait_for(self._next.wait(), timeout_s)
        except TimeoutError:
            pass
