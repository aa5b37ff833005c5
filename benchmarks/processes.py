"""CPU time of a server: all of its processes, by what they are."""

from __future__ import annotations

import os
from collections import defaultdict

import psutil


class CpuMeter:
    """User and system CPU time of processes and everything that descends from them."""

    def __init__(self, *pids: int) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._seen: set[psutil.Process] = set()
        self._begun = self._read()

    def restart(self) -> None:
        """Count from now."""
        self._begun = self._read()

    def used_s(self) -> dict[str, float]:
        """Seconds of CPU since the last start, by kind of process."""
        used: defaultdict[str, float] = defaultdict(float)
        for process, (kind, cpu_s) in self._read().items():
            used[kind] += cpu_s - self._begun.get(process, (kind, 0.0))[1]
        return dict(used)

    def _read(self) -> dict[psutil.Process, tuple[str, float]]:
        # A process stays counted when its parent ends: psutil knows it by its pid and start time.
        for root in self._roots:
            self._seen |= {root, *root.children(recursive=True)}
        times = {}
        for process in list(self._seen):
            try:
                spent = process.cpu_times()
                times[process] = kind_of(process.cmdline()), spent.user + spent.system
            except psutil.NoSuchProcess:
                self._seen.discard(process)
        return times


def memory_bytes(pid: int) -> dict[str, int]:
    """Memory that a process and its descendants have for themselves (USS), by kind of process."""
    used: defaultdict[str, int] = defaultdict(int)
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        try:
            used[kind_of(process.cmdline())] += process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return dict(used)


def kind_of(command: list[str]) -> str:
    """What a process is, from its command line: a Ray actor's class or the program's name."""
    if not command:
        return "other"
    if command[0].startswith("ray::"):
        # `ray::ServeReplica:raymux:Gateway`, `ray::ServeController.listen`, `ray::IDLE`.
        return command[0].removeprefix("ray::").split(".")[0].split("@")[0].removeprefix("ServeReplica:").strip()
    program = os.path.basename(command[0])
    if program.startswith("python"):
        program = next((os.path.basename(word) for word in command[1:] if not word.startswith("-")), program)
    return program
