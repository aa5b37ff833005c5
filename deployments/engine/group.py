"""How a replica joins its sleep group."""

from __future__ import annotations

import asyncio
import os

import ray

from catalog.catalog import VariantSpec
from deployments.engine.base import Engine
from deployments.engine.gpu_owner import find_owner
from deployments.engine.sleeper import Sleeper


async def join_group(spec: VariantSpec, engine: Engine, replica_id: str) -> Sleeper:
    """Join the owner of the group's GPUs, which this process sees from now on; its engine has not started yet.

    Raises RuntimeError when the owner is gone.
    """
    owner = await asyncio.to_thread(find_owner, spec.settings)
    if owner is None:
        raise RuntimeError(f"nobody owns the GPUs of the sleep group {spec.settings.sleep_group}")
    node_id = ray.get_runtime_context().get_node_id()
    gpus = await owner.join.remote(replica_id, spec.key, os.getpid(), node_id, spec.settings.max_awake_s)
    # Ray leaves the variable alone in a process that asked for no GPU.
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus.gpu_ids)
    return Sleeper(engine, lambda news: owner.exchange.remote(replica_id, news), spec.lifecycle.cold_start_timeout_s)
