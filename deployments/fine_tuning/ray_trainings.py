"""Trainings as detached Ray actors: a thin layer over `supervisor`."""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, remove_placement_group

from catalog.fine_tuning import Report, TrainingPlan
from deployments.fine_tuning.trainings import TrainingGone, Trainings

# The jobs share one loop: it must not wait long for a training that hangs.
CALL_TIMEOUT_S = 5.0
START_TIMEOUT_S = 30.0
# A name is taken until its actor is gone.
GONE_TIMEOUT_S = 10.0
POLL_S = 0.1


class RayTrainings(Trainings):
    """One supervisor for each job."""

    async def start(self, plan: TrainingPlan) -> None:
        await _in_time(asyncio.to_thread(_start, plan), START_TIMEOUT_S)

    async def news(self, job_id: str, since: int) -> list[Report]:
        supervisor = await _found(job_id)
        return list(await _called(supervisor.news.remote(since)))

    async def pause(self, job_id: str) -> None:
        supervisor = await _found(job_id)
        await _called(supervisor.pause.remote())

    async def kill(self, job_id: str) -> None:
        supervisor = await _in_time(asyncio.to_thread(_find, job_id))
        if supervisor is None:
            return
        place = await _place_of(supervisor)
        ray.kill(supervisor)
        async with asyncio.timeout(GONE_TIMEOUT_S):
            while await asyncio.to_thread(_find, job_id) is not None:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
        if place is not None:
            await asyncio.to_thread(remove_placement_group, place)


# Imported with the first job, in the thread that needs it: a manager without jobs may lack what a training takes.


def _start(plan: TrainingPlan) -> None:
    from deployments.fine_tuning.supervisor import start_supervisor

    start_supervisor(plan)


def _find(job_id: str) -> Any:
    from deployments.fine_tuning.supervisor import find_supervisor

    return find_supervisor(job_id)


async def _found(job_id: str) -> Any:
    supervisor = await _in_time(asyncio.to_thread(_find, job_id))
    if supervisor is None:
        raise TrainingGone
    return supervisor


async def _place_of(supervisor: Any) -> PlacementGroup | None:
    """What a training holds; None where it does not say, and Ray Train has to find out that it is gone."""
    try:
        return await _called(supervisor.place.remote())
    except (TrainingGone, TimeoutError):
        return None


async def _called(call: Any) -> Any:
    try:
        return await _in_time(call)
    except RayActorError:
        raise TrainingGone from None


async def _in_time(call: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
    async with asyncio.timeout(timeout_s):
        return await call
