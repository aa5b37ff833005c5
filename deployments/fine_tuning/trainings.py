"""The trainings of jobs, as the jobs' owner sees them: each runs apart from the manager, and outlives it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from catalog.fine_tuning import Report, TrainingPlan


class TrainingGone(Exception):
    """There is no training of this job: it was never started, or its process or node is gone."""


class Trainings(ABC):
    """At most one training for each job. A call that takes too long raises TimeoutError."""

    @abstractmethod
    async def start(self, plan: TrainingPlan) -> None:
        """Start a training; it goes on from the job's last checkpoint if there is one. Returns before it has begun."""

    @abstractmethod
    async def news(self, job_id: str, since: int) -> list[Report]:
        """Its reports with a number above `since`, in their order. Raises TrainingGone."""

    @abstractmethod
    async def pause(self, job_id: str) -> None:
        """Have it save a checkpoint and stop, which a report tells. Raises TrainingGone."""

    @abstractmethod
    async def kill(self, job_id: str) -> None:
        """End it, and return when its resources are on the way back. Nothing happens if there is none."""
