"""What the pool imports, and what must hold of a process before others are forked from it."""

from __future__ import annotations

import gc
import importlib
import os
import threading

# All that a replica, its engine core and its workers import of others' code and that takes long. Not `ray.serve`: as it
# is imported it draws a random id (`require_distinct_ids`).
PRELOADED = (
    "ray", "uvicorn",
    "vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor", "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.engine.async_llm", "vllm.entrypoints.openai.api_server",
)  # fmt: skip
TITLE = "raymux::pool"


def preload() -> None:
    """Import everything, and note where titles of processes go before a change of the environment hides it."""
    import ray._raylet
    import setproctitle

    # Whoever looks first for the place of the title moves the environment, and then nobody else finds it.
    ray._raylet.setproctitle(TITLE)  # pyright: ignore[reportAttributeAccessIssue]
    setproctitle.setproctitle = ray._raylet.setproctitle  # pyright: ignore[reportAttributeAccessIssue]
    for name in PRELOADED:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError("an import has started a thread, which a forked process would lack")
    require_distinct_ids()
    # A collection would write to every page that the workers share.
    gc.collect()
    gc.freeze()


def require_distinct_ids() -> None:
    """Raise RuntimeError when an import has made Ray seed its random numbers.

    Forked workers would then draw the same ids, and two of them would name different calls of an actor alike: Ray 2.60
    ends the actor for it, with a failed check.
    """
    if _forked_id() == _forked_id():
        raise RuntimeError("an import has made Ray draw a random number, so forked workers would draw the same ids")


def _forked_id() -> bytes:
    """An id that Ray draws in a forked process."""
    from ray._raylet import WorkerID

    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writable, WorkerID.from_random().binary())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as drawn:
        os.waitpid(pid, 0)
        return drawn.read()
