"""The processes of a running server, by what they do."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import NamedTuple

import psutil

from tests.server import RunningServer, describe, wait_until

FLAT_TIMEOUT_S = 20
# Short requests swing between replicas within a second.
SAMPLES, SAMPLE_INTERVAL_S = 10, 0.25


def ready_pids(server: RunningServer, model: str) -> list[int]:
    """The process ids of the model's replicas that take requests. The manager may not have missed a dead one yet."""
    pids = [each["pid"] for each in server.status(model)["replicas"] if each["state"] == "ready"]
    return [pid for pid in pids if psutil.pid_exists(pid)]


def wait_for_replicas(server: RunningServer, model: str, number: int) -> list[int]:
    """Wait until so many are ready. Returns their process ids."""
    wait_until(lambda: len(ready_pids(server, model)) == number, 60, f"{model} has {number} replicas")
    return ready_pids(server, model)


def busiest(server: RunningServer, model: str) -> int:
    """The process id of the model's replica that has had most to do for some seconds: it has long streams."""
    num_running: Counter[int] = Counter()
    for _ in range(SAMPLES):
        alive = ready_pids(server, model)
        for each in server.status(model)["replicas"]:
            if each["pid"] in alive:
                num_running[each["pid"]] += each["running"]
        time.sleep(SAMPLE_INTERVAL_S)
    return max(ready_pids(server, model), key=lambda pid: num_running[pid])


def processes(server: RunningServer, title: str) -> list[psutil.Process]:
    """The server's processes with this in their titles."""
    return [each for each in server.processes(None) if title in describe(each)]


def gateways(server: RunningServer) -> list[psutil.Process]:
    """The processes of its gateways."""
    return server.serve_processes("Gateway")


class Footprint(NamedTuple):
    """Memory and open files of the server's processes, by process."""

    memory_bytes: dict[psutil.Process, int]
    num_fds: dict[psutil.Process, int]

    def require_flat(self, server: RunningServer, grown_bytes: int = 30 * 1024**2, grown_fds: int = 25) -> None:
        """Assert that no process that lives on has grown by more, when what was kept for a while has been let go."""
        wait_until(lambda: not self._grown(server, grown_bytes, grown_fds), FLAT_TIMEOUT_S, "memory and files are flat")

    def _grown(self, server: RunningServer, grown_bytes: int, grown_fds: int) -> list[str]:
        now = footprint(server)
        found = []
        for each, before in self.num_fds.items():
            if each not in now.num_fds:
                continue
            num_fds = now.num_fds[each] - before
            num_bytes = now.memory_bytes[each] - self.memory_bytes[each]
            if num_fds > grown_fds or num_bytes > grown_bytes:
                found.append(f"{describe(each)}: {num_fds:+} files, {num_bytes / 1024**2:+.0f} MB")
        if found:
            print("grown:", found)
        return found


def footprint(server: RunningServer) -> Footprint:
    """Of the processes on a request's way: HAProxy, gateways, manager, replicas, Serve's controller."""
    memory_bytes, num_fds = {}, {}
    for each in server.processes(None):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray::Serve" in describe(each) or each.name() == "haproxy":
                memory_bytes[each], num_fds[each] = each.memory_info().rss, each.num_fds()
    return Footprint(memory_bytes, num_fds)
