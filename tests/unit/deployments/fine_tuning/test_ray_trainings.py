"""The layer over supervisors, which are stood in for: no Ray runs."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from catalog.fine_tuning import Method, Report, ReportKind, TrainingPlan
from deployments.fine_tuning import ray_trainings
from deployments.fine_tuning.ray_trainings import RayTrainings
from deployments.fine_tuning.trainings import TrainingGone

PLAN = TrainingPlan(job_id="ftjob-1", method=Method.SUPERVISED, model="m", training_file="f", folder="d")
REPORT = Report(2, 5.0, ReportKind.EVALUATION, {"step": 1, "loss": 0.5})


class FakeSupervisors(ModuleType):
    """The supervisor's module: what was started, and what is found."""

    def __init__(self) -> None:
        super().__init__("supervisor")
        self.started: list[TrainingPlan] = []
        self.num_looks_until_gone = 0
        self.found: Any = None
        self.error: Exception | None = None
        self.asked: list[Any] = []

    def start_supervisor(self, plan: TrainingPlan) -> None:
        self.started.append(plan)
        self.found = SimpleNamespace(
            news=SimpleNamespace(remote=lambda since: self._answer("news", since)),
            pause=SimpleNamespace(remote=lambda: self._answer("pause", None)),
            place=SimpleNamespace(remote=self._place),
        )

    def find_supervisor(self, job_id: str) -> Any:
        if self.num_looks_until_gone:
            self.num_looks_until_gone -= 1
            if not self.num_looks_until_gone:
                self.found = None
        return self.found

    async def _place(self) -> str:
        if self.error is not None:
            raise self.error
        return "the place"

    async def _answer(self, verb: str, argument: Any) -> Any:
        self.asked.append((verb, argument))
        if self.error is not None:
            raise self.error
        return [REPORT]


@pytest.fixture
def supervisors(monkeypatch: pytest.MonkeyPatch) -> FakeSupervisors:
    fake = FakeSupervisors()
    monkeypatch.setitem(sys.modules, "deployments.fine_tuning.supervisor", fake)
    return fake


@pytest.fixture
def trainings(supervisors: FakeSupervisors) -> RayTrainings:
    return RayTrainings()


async def test_a_training_is_started_asked_and_paused(trainings: RayTrainings, supervisors: FakeSupervisors) -> None:
    await trainings.start(PLAN)
    assert supervisors.started == [PLAN]
    assert await trainings.news("ftjob-1", 1) == [REPORT]
    await trainings.pause("ftjob-1")
    assert supervisors.asked == [("news", 1), ("pause", None)]


async def test_one_that_is_not_there_or_has_died_is_gone(trainings: RayTrainings, supervisors: FakeSupervisors) -> None:
    with pytest.raises(TrainingGone):
        await trainings.news("ftjob-1", 0)
    await trainings.start(PLAN)
    supervisors.error = RayActorError()
    for call in (trainings.news("ftjob-1", 0), trainings.pause("ftjob-1")):
        with pytest.raises(TrainingGone):
            await call


async def test_a_kill_returns_when_the_name_is_free_again_and_the_place_with_it(
    trainings: RayTrainings, supervisors: FakeSupervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, removed = list[Any](), list[Any]()
    monkeypatch.setattr(ray_trainings.ray, "kill", killed.append)
    monkeypatch.setattr(ray_trainings, "remove_placement_group", removed.append)
    monkeypatch.setattr(ray_trainings, "POLL_S", 0)
    await trainings.kill("ftjob-1")
    assert killed == [], "there was none"
    await trainings.start(PLAN)
    supervisors.num_looks_until_gone = 4
    await trainings.kill("ftjob-1")
    assert (len(killed), supervisors.found) == (1, None)
    assert removed == ["the place"]


async def test_a_training_that_does_not_say_what_it_holds_is_killed_all_the_same(
    trainings: RayTrainings, supervisors: FakeSupervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(ray_trainings.ray, "kill", killed.append)
    await trainings.start(PLAN)
    supervisors.error, supervisors.num_looks_until_gone = RayActorError(), 2
    await trainings.kill("ftjob-1")
    assert (len(killed), supervisors.found) == (1, None)
