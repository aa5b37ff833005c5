"""Keeps the pool of preloaded processes alive on the manager's node."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from catalog.catalog import VariantSpec
from deployments.preload.launcher import KEEP

MAX_RESTARTS = 5

_LAUNCHER = Path(__file__).with_name("launcher.py")


def can_be_preloaded(spec: VariantSpec) -> bool:
    """Whether a variant's replicas can begin in a process of the pool: on GPUs it has not been proved."""
    return spec.settings.shape == "CPU" and spec.engine.kind == "vllm"


def py_executable(*, keep: bool = False) -> str:
    """Ray's `py_executable` for workers that begin in a process of the pool; with `keep`, as the pool if need be.

    Ray wants the same installation on every node of a cluster, so the paths of this one hold on all of them.
    """
    return shlex.join([sys.executable, "-S", str(_LAUNCHER), *([KEEP] if keep else [])])


class PoolKeeper:
    """Holds an actor on this node whose worker the pool began with, and lives for: Ray starts it anew if it dies.

    The actor belongs to this process, so it ends with it; the pool then lives on for the replicas it has forked.
    """

    def __init__(self, start: Callable[[], Any] | None = None, stop: Callable[[Any], None] = ray.kill) -> None:
        self._start = start or _start_actor
        self._stop = stop
        self._actor: Any = None

    def follow(self, variants: Iterable[VariantSpec], *, is_wanted: bool) -> bool:
        """Start or stop keeping; returns whether replicas of CPU variants should begin in the pool."""
        is_wanted = is_wanted and any(map(can_be_preloaded, variants))
        if is_wanted and self._actor is None:
            self._actor = self._start()
        elif not is_wanted and self._actor is not None:
            self._stop(self._actor)
            self._actor = None
        return is_wanted


def _start_actor() -> Any:
    """The actor, or None on a node that takes no replica."""
    node_id = ray.get_runtime_context().get_node_id()
    node = next((each for each in ray.nodes() if each["NodeID"] == node_id), None)
    if node is None or not node["Resources"].get("CPU"):
        return None
    return _Kept.options(
        num_cpus=0,
        # A pool that cannot import anything must not be started for ever.
        max_restarts=MAX_RESTARTS,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
        runtime_env={"py_executable": py_executable(keep=True)},
    ).remote()


@ray.remote
class _Kept:
    """Does nothing but live."""
