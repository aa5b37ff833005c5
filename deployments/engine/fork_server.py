"""A fork server with vLLM imported, from which the engine's processes start in a moment.

vLLM runs its engine core, and with several ranks a worker each below it, as processes of their own that it spawns, so
each imports vLLM and torch anew: on two cores, that took 14 of the 27 seconds that an engine needed to start. Here they
are forked from one process that imports both while the replica itself does.

A replica that was forked from the pool (`deployments/preload`) has a fork server already, forked from it in turn.

Written for vLLM 0.32, which offers `spawn` and `fork` only: its `get_mp_context` is replaced, in the replica and in all
that the fork server forks.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from deployments.preload.launcher import die_with

_PRELOADED = "deployments.engine.preloaded"
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


def start() -> None:
    """Start the fork server of this process if it has none; returns at once, while it imports."""
    multiprocessing.set_forkserver_preload([_PRELOADED])
    forkserver.ensure_running()
    use()


def use() -> None:
    """Have vLLM start its processes from the fork server, also from modules that were imported before."""
    from vllm.utils import system_utils

    spawning, context = system_utils.get_mp_context, _Context()

    def get_mp_context() -> _Context:
        return context

    for module in tuple(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        if names.get("get_mp_context") is spawning:
            names["get_mp_context"] = get_mp_context


def heed_environment() -> None:
    """Tell modules that may have been imported earlier what raymux and Ray have set in the environment since."""
    import huggingface_hub.constants
    import torch._dynamo.config

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    if os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        torch._dynamo.config.disable = True
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].partition(",")[0]))


def _allow_amx() -> None:
    """Ask Linux for this process's use of AMX tiles, where the CPU has them (arch/x86/include/uapi/asm/prctl.h).

    vLLM 0.32's attention uses them on the CPU, but asks only where oneDNN happens to have done so before: a rank of
    several dies of an illegal instruction.
    """
    if platform.machine() == "x86_64":
        # Without AMX the call fails, and nothing uses it.
        ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA)


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
    # The fork server ends with the replica, and this process with it, even where no Ray is left to see to it.
    die_with(os.getppid())
    use()
    heed_environment()
    _allow_amx()
    target(*args, **kwargs)
