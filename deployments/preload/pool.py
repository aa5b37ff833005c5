"""The pool: a process of this Ray node with vLLM and Ray imported, which forks workers for `launcher.py`.

It lives as long as one of the processes it has forked, or the worker it began with, and no longer than the raylet. It
serves nothing but its folder's socket, which only its own user can reach; what it is told is JSON.

A worker forgets what was imported of the project: its code is the one that the worker finds.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deployments.preload.imports import preload
from deployments.preload.launcher import die_with
from deployments.preload.requests import receive_request
from deployments.preload.worker import Request, become, python_path

# A manager that is started anew finds the pool of the last one.
LINGER_S = 30.0


class Pool:
    """Forks a process per request, and tells the asker of its end. An asker that goes takes its process with it."""

    def __init__(
        self, listener: socket.socket, environment: Mapping[str, str], children: Iterable[int] = (),
        raylet: int | None = None, lock: int | None = None,
    ) -> None:  # fmt: skip
        """`environment` is what was imported with; `raylet` and `lock` are descriptors."""
        self._listener = listener
        self._environment = environment
        self._lock = lock
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._askers: dict[int, socket.socket] = {}
        self._children: set[int] = set()
        self._is_over = False
        self._pid = os.getpid()
        for pid in children:
            self._follow(pid)
        if raylet is not None:
            self._watch(raylet, self._end)

    def run(self, linger_s: float = LINGER_S) -> Request | None:
        """Serve until the raylet ends, or there has been no process for `linger_s` seconds; returns None then.

        In a process that was forked it returns that process's request.
        """
        idle_since_s = time.monotonic()
        while not self._is_over:
            if self._children:
                idle_since_s = time.monotonic()
            left_s = idle_since_s + linger_s - time.monotonic()
            if left_s <= 0:
                return None
            for key, _ in self._selector.select(None if self._children else left_s):
                request = key.data()
                if request is not None:
                    return request
        return None

    def _watch(self, descriptor: Any, on_ready: Callable[[], Any]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, on_ready)

    def _end(self) -> None:
        self._is_over = True

    def _accept(self) -> Request | None:
        asker, _ = self._listener.accept()
        try:
            request, output = receive_request(asker, self._environment)
        except (OSError, ValueError):
            asker.close()
            return None
        pid = _fork()
        if pid == 0:
            self._leave(asker)
            if request["dies_with_pool"]:
                die_with(self._pid)
            for number, descriptor in enumerate(output):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return request
        for descriptor in output:
            os.close(descriptor)
        # An asker that has gone already is noticed as one that goes later.
        with contextlib.suppress(OSError):
            asker.sendall(b"-" if pid is None else b"+")
        if pid is None:
            asker.close()
        else:
            self._askers[pid] = asker
            self._watch(asker, lambda: self._abandon(pid))
            self._follow(pid)
        return None

    def _leave(self, asker: socket.socket) -> None:
        """Close, in a forked process, what is the pool's."""
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()
        os.close(asker.detach())
        if self._lock is not None:
            os.close(self._lock)
        for each in (self._listener, *self._askers.values()):
            each.detach()

    def _follow(self, pid: int) -> None:
        descriptor = os.pidfd_open(pid)
        self._children.add(pid)
        self._watch(descriptor, lambda: self._ended(pid, descriptor))

    def _ended(self, pid: int, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        self._children.discard(pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        asker = self._askers.pop(pid, None)
        if asker is not None:
            self._selector.unregister(asker)
            with contextlib.suppress(OSError), asker:
                asker.sendall(status.to_bytes(4, "big", signed=True))

    def _abandon(self, pid: int) -> None:
        """The launcher was killed, which is how Ray ends a worker that does not register."""
        asker = self._askers.pop(pid, None)
        if asker is not None:
            self._selector.unregister(asker)
            asker.close()
            os.kill(pid, signal.SIGKILL)


def _fork() -> int | None:
    """Fork a leader of a process group, with which Ray ends a worker. None when there is no room for a process."""
    try:
        pid = os.fork()
    except OSError as error:
        print(f"raymux: cannot fork: {error}", file=sys.stderr, flush=True)
        return None
    if pid == 0:
        os.setpgid(0, 0)
    return pid


def main(folder: str, lock: int, worker: int) -> None:
    """Be the pool of this Ray node, with the socket in `folder`; the launcher has put the project first in the path."""
    raylet = os.pidfd_open(int(os.environ.get("RAY_RAYLET_PID", os.getppid())))
    os.set_inheritable(lock, False)
    environment = dict(os.environ)
    base_path = sys.path[1 + len(python_path()) :]
    del sys.path[0]
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    with socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "socket")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
        listener.listen(64)
        preload()
        request = Pool(listener, environment, [worker], raylet, lock).run()
    if request is not None:
        become(request, base_path)
