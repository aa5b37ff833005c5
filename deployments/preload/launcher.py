"""What Ray runs instead of Python for the worker of an engine replica on the CPU: has it forked where vLLM is imported.

Ray's `py_executable` names this script, so its arguments are what Python would get. It asks the pool of this Ray node
(`pool.py`) to fork a process that runs them, with this process's environment, folder and output, and lives as long as
that process. Where there is no pool, it becomes Python, and everything is as it would be without it. With `--keep`
before the arguments, which the manager uses for one actor, it becomes the pool itself if there is none, and the actor
dies with the pool, so that Ray starts both anew.

Only the standard library and nothing of the project: it runs without site-packages, to start in a moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

# The pool greets when it has imported everything. Ray gives a worker 60 s to register.
GREETING_TIMEOUT_S = 30.0
# Of arguments and environment.
MAX_REQUEST_BYTES = 2**20
KEEP = "--keep"

_POOL = """
import sys
sys.path[0] = sys.argv[1]
from deployments.preload.pool import main
main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


class NoPool(Exception):
    """No pool answers, or it must not be used."""


def main(arguments: Sequence[str]) -> int:
    """Run Python with these arguments in a process of the pool, if there is one. Returns its exit status."""
    keeps = arguments[:1] == [KEEP]
    arguments = arguments[1:] if keeps else arguments
    try:
        folder = private_folder(arguments)
        if keeps and (lock := take_lock(folder)) is not None:
            _become_pool(folder, lock, arguments)
        with open_pool(folder, GREETING_TIMEOUT_S) as pool:
            ask(pool, arguments, dies_with_pool=keeps)
            return wait_for_status(pool)
    except NoPool:
        os.execv(sys.executable, [sys.executable, *arguments])


def private_folder(arguments: Sequence[str]) -> Path:
    """The folder of the Ray node's pool, for this user only; made if need be. Raises NoPool when it cannot be.

    It lies in the session's folder beside that of the raylet's socket, so each node of a session has its own.
    """
    name = next((each.partition("=")[2] for each in arguments if each.startswith("--raylet-name=")), "")
    raylet = Path(name)
    if not raylet.is_absolute():
        raise NoPool
    folder = raylet.parent.parent / f"raymux-{raylet.name}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError:
        raise NoPool from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise NoPool
    return folder


def take_lock(folder: Path) -> int | None:
    """Become the one that may be this node's pool; a descriptor that holds this, or None when another one is."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        raise NoPool from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _become_pool(folder: Path, lock: int, arguments: Sequence[str]) -> None:
    """Fork the worker that Ray waits for, and be the pool from now on. The worker lives by itself."""
    pool_pid = os.getpid()
    worker = os.fork()
    if worker == 0:
        # Ray ends a worker with its whole process group.
        os.setpgid(0, 0)
        die_with(pool_pid)
        os.execv(sys.executable, [sys.executable, *arguments])
    os.set_inheritable(lock, True)
    project = str(Path(__file__).parents[2])
    os.execv(sys.executable, [sys.executable, "-c", _POOL, project, str(folder), str(lock), str(worker)])


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends, also when it becomes another program."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def open_pool(folder: Path, timeout_s: float) -> socket.socket:
    """A connection to a pool that is ready. Raises NoPool when there is none, or it takes longer."""
    pool = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    pool.settimeout(timeout_s)
    try:
        pool.connect(str(folder / "socket"))
        if pool.recv(1) == b"+":
            pool.settimeout(None)
            return pool
    except OSError:
        pass
    pool.close()
    raise NoPool


def ask(pool: socket.socket, arguments: Sequence[str], *, dies_with_pool: bool) -> None:
    """Ask for a process with this one's environment, folder and output. Raises NoPool when the pool says no.

    A pool that says nothing has ended, and may have forked the process before, so no second one is started: this one
    ends (`wait_for_status`), and Ray starts another worker.
    """
    try:
        request = {
            "arguments": list(arguments),
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "dies_with_pool": dies_with_pool,
        }
        body = json.dumps(request).encode()
        if len(body) > MAX_REQUEST_BYTES:
            raise NoPool
        socket.send_fds(pool, [len(body).to_bytes(4, "big")], [0, 1, 2])
        pool.sendall(body)
    except OSError:
        raise NoPool from None
    if receive(pool, 1) == b"-":
        raise NoPool


def wait_for_status(pool: socket.socket) -> int:
    """Wait for the end of the process that was asked for. Returns its exit status, or dies of the signal it died of.

    When the pool itself ends, the process has nobody to report it; 1 then.
    """
    reply = receive(pool, 4)
    status = int.from_bytes(reply, "big", signed=True) if len(reply) == 4 else 1
    if status < 0:
        with contextlib.suppress(OSError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def receive(connection: socket.socket, num_bytes: int) -> bytes:
    """So many bytes, or fewer when the other side has ended."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while len(received) < num_bytes and (part := connection.recv(num_bytes - len(received))):
            received += part
    return received


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
