"""Notices the end of processes of this machine at the moment they end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable


class ProcessWatch:
    """Watches some processes, the first of which leads; `on_end` is called once all of them have ended.

    The others get `grace_s` seconds after the leader's end, then they are killed. A process is held by a file
    descriptor, so its id cannot come to mean another one.
    """

    def __init__(self, leader: int, on_end: Callable[[], None], grace_s: float = 5.0) -> None:
        self._on_end = on_end
        self._grace_s = grace_s
        self._leader = leader
        self._descriptors: dict[int, int] = {}
        self._killing: asyncio.TimerHandle | None = None
        self.add((leader,))
        if not self._descriptors:
            asyncio.get_running_loop().call_soon(on_end)

    def add(self, pids: Iterable[int]) -> None:
        """Watch these processes too; those that are gone already are left out."""
        for pid in pids:
            if pid in self._descriptors:
                continue
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self._descriptors[pid] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._ended, pid)

    def _ended(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        loop = asyncio.get_running_loop()
        loop.remove_reader(descriptor)
        os.close(descriptor)
        if self._leader in self._descriptors:
            return
        if self._descriptors:
            self._killing = self._killing or loop.call_later(self._grace_s, self._kill_rest)
        else:
            if self._killing is not None:
                self._killing.cancel()
            self._on_end()

    def _kill_rest(self) -> None:
        for descriptor in self._descriptors.values():
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            except ProcessLookupError:
                continue
