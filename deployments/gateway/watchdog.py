"""Ends what waits at a replica that has been silent for so long that the manager has given it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

# A manager that has just been restarted may not have heard of a replica yet.
GIVE_UP_AFTER_S = 3.0


class Watchdog:
    """The patience of requests with their replicas. `is_known` tells whether the manager knows of a replica.

    A process that hangs keeps its connections open: without this its clients would wait until it is killed.
    """

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self._is_known = is_known
        self._waiting: dict[str, set[asyncio.Timeout]] = {}

    @contextmanager
    def watched(self, replica_id: str, patience: asyncio.Timeout) -> Iterator[None]:
        """Let `patience` run out when the replica is given up while the block runs."""
        waiting = self._waiting.setdefault(replica_id, set())
        waiting.add(patience)
        try:
            yield
        finally:
            waiting.discard(patience)
            if not waiting:
                self._waiting.pop(replica_id, None)

    def heard(self, known: Set[str]) -> None:
        """These are the replicas that the manager knows of now."""
        for replica_id in self._waiting.keys() - known:
            asyncio.get_running_loop().call_later(GIVE_UP_AFTER_S, self._give_up, replica_id)

    def _give_up(self, replica_id: str) -> None:
        if not self._is_known(replica_id):
            for patience in self._waiting.get(replica_id, ()):
                patience.reschedule(asyncio.get_running_loop().time())
