"""What a process that the pool has forked does: be a new Python process that runs Ray's worker."""

from __future__ import annotations

import os
import random
import runpy
import socket
import sys
from multiprocessing import connection, forkserver, process, util
from typing import Any

from deployments.preload.launcher import die_with

Request = dict[str, Any]


def become(request: Request, base_path: list[str]) -> None:
    """Be a new Python process that runs a script; returns when it has run.

    `request` is what `launcher.ask` sends; `base_path` is Python's own path, without what the environment adds.
    """
    environment: dict[str, str] = request["environment"]
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
    os.chdir(request["folder"])
    util._finalizer_registry.clear()  # pyright: ignore[reportAttributeAccessIssue]
    process.current_process().authkey = os.urandom(32)
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    for name in [each for each in sys.modules if each.partition(".")[0] == "deployments"]:
        del sys.modules[name]
    start_fork_server()
    sys.argv = list(request["arguments"])
    sys.path[:] = [os.path.dirname(sys.argv[0]), *python_path(), *base_path]
    runpy.run_path(sys.argv[0], run_name="__main__")


def start_fork_server() -> None:
    """Give this process a fork server of multiprocessing's that has imported what it has.

    It is what `multiprocessing.forkserver` starts, but forked, while this process still has one thread.
    """
    server: Any = forkserver._forkserver  # pyright: ignore[reportAttributeAccessIssue]
    address = connection.arbitrary_address("AF_UNIX")  # pyright: ignore[reportAttributeAccessIssue]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        alive_r, alive_w = os.pipe()
        owner = os.getpid()
        pid = os.fork()
        if pid == 0:
            # What it forks holds the pipe too, so its end alone would not tell.
            die_with(owner)
            os.close(alive_w)
            forkserver.main(listener.detach(), alive_r, [])
    os.close(alive_r)
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, alive_w, pid


def python_path() -> list[str]:
    """The folders that this process's environment puts first."""
    return [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
