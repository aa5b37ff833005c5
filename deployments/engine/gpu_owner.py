"""The owner of one set of GPUs: a Ray actor that holds them for a sleep group, and grants the lease to be awake.

In Ray a replica keeps its GPU while its engine sleeps, so engines that take turns on a GPU must not hold it themselves.
The owner's event loop owns the state: whoever is told to wake is the only one. It runs on the node of its replicas,
where it sees their processes end. It leaves when the last of them has gone, and the node may go after it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import ray

from autoscaling.awake import Phase
from catalog.gpus import GpuShape
from catalog.models import VariantSettings
from deployments.engine.leases import GpuSet, LeaseBook, News, Order
from deployments.engine.processes import ProcessWatch

logger = logging.getLogger("ray")

NAMESPACE = "raymux"
# An owner waits this long for a replica that was announced, and without one so much for Serve to replace a dead one.
ANNOUNCED_S = 120.0
LINGER_S = 5.0
# How often an engine hears from its owner though there is nothing new.
HEARTBEAT_S = 10.0


def owner_name(settings: VariantSettings) -> str:
    """The name of the actor that owns the GPUs of a variant with a sleep group."""
    return f"gpus-{settings.sleep_group}-{settings.shape}"


class GpuOwner:
    """Its methods are called by the manager (`announce`) and by the group's replicas."""

    def __init__(self, name: str) -> None:
        context = ray.get_runtime_context()
        gpu_ids = tuple(str(each) for each in context.get_accelerator_ids().get("GPU", ()))
        self._name = name
        self._gpus = GpuSet(context.get_actor_id() or "", context.get_node_id(), gpu_ids)
        self._book = LeaseBook(time.monotonic)
        self._watches: dict[str, ProcessWatch] = {}
        self._announced: dict[str, float] = {}
        self._has_changed = asyncio.Event()
        self._turn_end: asyncio.TimerHandle | None = None
        self._empty_since_s = time.monotonic()
        self._is_leaving = False
        self._housekeeping: asyncio.Task[None] | None = None

    async def announce(self, variant: str) -> GpuSet | None:
        """Say that a replica of the variant will come, so that the owner stays. None when it is leaving already."""
        if self._is_leaving:
            return None
        self._housekeeping = self._housekeeping or asyncio.create_task(self._leave_when_empty())
        self._announced[variant] = time.monotonic() + ANNOUNCED_S
        return self._gpus

    async def join(self, replica_id: str, variant: str, pid: int, node_id: str, turn_s: float) -> GpuSet:
        """Take in a replica, asleep. Raises RuntimeError when it cannot share the GPUs."""
        if node_id != self._gpus.node_id:
            raise RuntimeError(f"the GPUs of {self._name} are on another node")
        if self._is_leaving:
            raise RuntimeError(f"the owner of {self._name} is leaving")
        self._housekeeping = self._housekeeping or asyncio.create_task(self._leave_when_empty())
        self._announced.pop(variant, None)
        self._book.join(replica_id, turn_s)
        self._watches[replica_id] = ProcessWatch(pid, lambda: self._gone(replica_id))
        return self._gpus

    async def exchange(self, replica_id: str, news: News) -> Order:
        """Take an engine's news; returns its order as soon as there is a new one, or after a heartbeat.

        Raises RuntimeError for a replica that has not joined.
        """
        if replica_id not in self._book:
            raise RuntimeError(f"{replica_id} has not joined {self._name}")
        self._watches[replica_id].add(news.pids)
        self._book.take(replica_id, news)
        self._settle(is_new=True)
        until_s = time.monotonic() + HEARTBEAT_S
        while replica_id in self._book and not self._book.has_news_for(replica_id, news):
            try:
                await asyncio.wait_for(self._has_changed.wait(), until_s - time.monotonic())
            except TimeoutError:
                break
        return self._book.order(replica_id) if replica_id in self._book else Order()

    async def phases(self) -> dict[str, Phase]:
        """The phase of each replica's engine."""
        return self._book.phases()

    def _settle(self, *, is_new: bool = False) -> None:
        has_changed, recheck_at_s = self._book.settle()
        if has_changed or is_new:
            # Those that wait have seen this one; later waiters wait for the next.
            self._has_changed.set()
            self._has_changed = asyncio.Event()
        if self._turn_end is not None:
            self._turn_end.cancel()
            self._turn_end = None
        if recheck_at_s is not None:
            wait_s = max(0.0, recheck_at_s - time.monotonic())
            self._turn_end = asyncio.get_running_loop().call_later(wait_s, self._settle)

    def _gone(self, replica_id: str) -> None:
        logger.info("%s: %s has ended", self._name, replica_id)
        self._book.drop(replica_id)
        self._watches.pop(replica_id, None)
        self._empty_since_s = time.monotonic()
        self._settle(is_new=True)

    async def _leave_when_empty(self) -> None:
        while not self._may_leave(time.monotonic()):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        self._is_leaving = True
        logger.info("%s: the last replica has gone, so its owner leaves", self._name)
        # A detached actor stays until it is killed; so does its name.
        ray.kill(ray.get_runtime_context().current_actor)
        await asyncio.sleep(LINGER_S)
        os._exit(0)

    def _may_leave(self, now_s: float) -> bool:
        is_expected = any(until_s > now_s for until_s in self._announced.values())
        return not len(self._book) and not is_expected and now_s - self._empty_since_s >= LINGER_S


def create_owner(settings: VariantSettings) -> Any:
    """A handle to the owner of a variant's GPUs, which is created if there is none. Blocks briefly."""
    shape, name = GpuShape.parse(settings.shape), owner_name(settings)
    actor = ray.remote(GpuOwner).options(
        name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_concurrency=1000,
        num_cpus=0, num_gpus=shape.count, accelerator_type=shape.type,
    )  # fmt: skip
    return actor.remote(name)


def find_owner(settings: VariantSettings) -> Any | None:
    """A handle to the owner of a variant's GPUs, None when there is none. Blocks briefly."""
    try:
        return ray.get_actor(owner_name(settings), namespace=NAMESPACE)
    except ValueError:
        return None
