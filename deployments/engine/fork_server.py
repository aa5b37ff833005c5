"""A fork server with vLLM imported, from which the engine's processes start in a moment.

vLLM runs its engine core, and on the CPU a worker below it, as processes of their own that it spawns, so each imports
vLLM and torch anew: on two cores, 14 of the 27 seconds that an engine took to start went into each of two imports. Here
they are forked from one process that imports both while the replica itself does.

Written for vLLM 0.32, which offers `spawn` and `fork` only: its `get_mp_context` is replaced, in the replica before
anything of vLLM's that uses it is imported, and in the fork server for all that it forks.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

_PRELOADED = "deployments.engine.preloaded"


def start() -> None:
    """Start the fork server of this process; returns at once, while it imports. Its environment is today's."""
    multiprocessing.set_forkserver_preload([_PRELOADED])
    forkserver.ensure_running()
    use()


def use() -> None:
    """Have vLLM start its processes from the fork server."""
    from vllm.utils import system_utils

    context = _Context()
    system_utils.get_mp_context = lambda: context


class _Process(ForkServerProcess):
    """A forked process that gets its parent's environment, as a spawned one would."""

    def __init__(self, *args: Any, target: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(*args, target=functools.partial(_run, dict(os.environ), target), **kwargs)


class _Context(ForkServerContext):
    Process = _Process


def _run(environment: Mapping[str, str], target: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
    # Python 3.11 tells a forked process where its fork server is, but would start another one all the same.
    forkserver._forkserver.ensure_running = resource_tracker.ensure_running  # pyright: ignore[reportAttributeAccessIssue]
    target(*args, **kwargs)
