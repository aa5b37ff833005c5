"""The GPU owners of sleep groups, as the manager needs them: found, created when wanted, given up when nobody waits."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import ray

# Ray 2.60 tells an actor's state publicly only through the dashboard, which may not run.
from ray._private import state
from ray.exceptions import RayActorError

from catalog.catalog import VariantSpec
from catalog.models import VariantSettings
from deployments.engine.gpu_owner import create_owner, find_owner, owner_name
from deployments.engine.leases import GpuSet

logger = logging.getLogger("ray.serve")

RETRY_S = 0.2


class GpuOwners:
    """Every owner is a named actor, so a new manager finds those of the last one."""

    def __init__(self) -> None:
        self._num_waiting: Counter[str] = Counter()

    async def find(self, spec: VariantSpec) -> GpuSet | None:
        """The GPUs of a variant's group, told that a replica will come. None when nobody owns them yet."""
        handle = await asyncio.to_thread(find_owner, spec.settings)
        if handle is None or not await asyncio.to_thread(_is_alive, handle):
            return None
        return await _announce(handle, spec)

    async def ensure(self, spec: VariantSpec) -> GpuSet:
        """Like `find`, but creates an owner and waits until its GPUs are there, which may take a new node."""
        name = owner_name(spec.settings)
        self._num_waiting[name] += 1
        try:
            while True:
                handle = await asyncio.to_thread(create_owner, spec.settings)
                gpus = await _announce(handle, spec)
                if gpus is not None:
                    return gpus
                # That one is leaving, or was lost with its node; its name is free in a moment.
                await asyncio.sleep(RETRY_S)
        finally:
            self._num_waiting[name] -= 1
            if not self._num_waiting[name]:
                await asyncio.to_thread(_give_up_unplaced, spec.settings)


async def _announce(handle: Any, spec: VariantSpec) -> GpuSet | None:
    try:
        return await handle.announce.remote(spec.key)
    except RayActorError:
        return None


def _is_alive(handle: Any) -> bool:
    return state.actors(handle._actor_id.hex()).get("State") == "ALIVE"


def _give_up_unplaced(settings: VariantSettings) -> None:
    """End an owner that still waits for its GPUs: else the autoscaler would bring a node for nobody."""
    handle = find_owner(settings)
    if handle is not None and not _is_alive(handle):
        logger.info("nobody waits for %s any more", owner_name(settings))
        ray.kill(handle)
