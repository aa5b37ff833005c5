"""The manager's part in fine-tuning, around trainings that the test speaks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autoscaling.cluster import Cluster, Node
from catalog.catalog import Catalog, VariantSpec
from catalog.errors import RaymuxError, StoreUnavailable
from catalog.fine_tuning import FineTuningSettings, JobStatus, Method, Report, ReportKind, TrainingPlan
from catalog.jobs import Form, Job, JobRequest, TrainingFile
from catalog.webhooks import NoticeType
from deployments.fine_tuning.facade import FineTuning
from deployments.fine_tuning.trainings import TrainingGone, Trainings
from deployments.manager.outbox import Outgoing
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Record
from tests.unit.builders import CHAT, Clock, catalog, until

ROOMY = Cluster((Node({"CPU": 4.0}, {"CPU": 4.0}),))
FULL = Cluster((Node({"CPU": 4.0}, {"CPU": 0.0}),))


@dataclass
class Training:
    plan: TrainingPlan
    reports: list[Report] = field(default_factory=list)
    num_pauses: int = 0


class FakeTrainings(Trainings):
    """Trainings that say what the test has them say; they are apart from the manager, and outlive it."""

    def __init__(self) -> None:
        self.running: dict[str, Training] = {}
        self.plans: list[TrainingPlan] = []
        self.killed: list[str] = []
        self.refuses_to_start = False

    async def start(self, plan: TrainingPlan) -> None:
        if self.refuses_to_start:
            raise RuntimeError("no")
        assert plan.job_id not in self.running, "a second training of a job"
        self.plans.append(plan)
        self.running[plan.job_id] = Training(plan)

    async def news(self, job_id: str, since: int) -> list[Report]:
        return [report for report in self._find(job_id).reports if report.number > since]

    async def pause(self, job_id: str) -> None:
        self._find(job_id).num_pauses += 1

    async def kill(self, job_id: str) -> None:
        self.killed.append(job_id)
        self.running.pop(job_id, None)

    def _find(self, job_id: str) -> Training:
        if job_id not in self.running:
            raise TrainingGone
        return self.running[job_id]

    def say(self, job_id: str, kind: ReportKind, **data: Any) -> None:
        reports = self.running[job_id].reports
        reports.append(Report(len(reports) + 1, 5.0, kind, data))


class World:
    """What outlives a manager: the store, the trainings, the cluster and the clock; and the manager's part itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqliteStore(folder / "raymux.db")
        self.clock = Clock(1_000.0)
        self.trainings = FakeTrainings()
        self.cluster = ROOMY
        self.catalog: Catalog = catalog()
        self.settings = FineTuningSettings(results=str(folder / "jobs"))
        self.registered: list[dict[str, Any]] = []
        self.refusals: dict[str, RaymuxError] = {}
        self.validated: list[tuple[VariantSpec, Sequence[TrainingFile]]] = []
        self.validation_error: Exception | None = None
        self.told: list[Outgoing] = []
        self.is_store_down = False
        self.tuning = self.manager()

    def manager(self) -> FineTuning:
        tuning = FineTuning(
            self.store, self._write, lambda: self.catalog, self._look, self._register, self.trainings, self._validate,
            self.clock,
        )  # fmt: skip
        tuning.follow(self.settings)
        return tuning

    async def restart(self) -> None:
        """The manager is killed, and another one takes over."""
        self.tuning = self.manager()
        await self.tuning.restore()

    async def _write(self, events: Iterable[Outgoing], *records: Record) -> None:
        if self.is_store_down:
            raise StoreUnavailable("no")
        await self.store.write(*records)
        self.told += events

    async def _look(self) -> Cluster:
        return self.cluster

    async def _register(self, fields: dict[str, Any], root: str) -> None:
        if (refusal := self.refusals.get(fields["name"])) is not None:
            raise refusal
        assert fields["source"].startswith(root)
        if fields not in self.registered:
            self.registered.append(fields)

    async def _validate(self, spec: VariantSpec, files: Sequence[TrainingFile]) -> int:
        self.validated.append((spec, files))
        if self.validation_error is not None:
            raise self.validation_error
        return 512

    async def add_file(self, id: str = "file-1", **changes: Any) -> TrainingFile:
        fields: dict[str, Any] = {
            "id": id, "tenant": "acme", "filename": "a.jsonl", "num_bytes": 10, "num_examples": 1, "form": Form.CHAT,
            "location": str(self.folder / f"{id}.jsonl"), "created_s": self.clock.now_s,
        }  # fmt: skip
        file = TrainingFile(**{**fields, **changes})
        await self.tuning.call("expect_file", file)
        return await self.tuning.call("keep_file", file.tenant, file.id)

    async def create(self, **changes: Any) -> Job:
        fields: dict[str, Any] = {
            "tenant": "acme", "model": CHAT, "variants": (f"{CHAT}@CPU",), "method": Method.SUPERVISED,
            "training_file": "file-1", "seed": 7,
        }  # fmt: skip
        return await self.tuning.call("create", JobRequest(**{**fields, **changes}))

    async def step(self) -> None:
        """One turn of the loop, and whatever validation it has begun."""
        self.clock.now_s += 1
        runner = self.tuning._runner
        await runner.step()
        await until(lambda: not runner._under_way)

    async def steps(self, num: int = 3) -> None:
        for _ in range(num):
            await self.step()

    def job(self, id: str) -> Job:
        return self.tuning._jobs.get(id)

    def messages(self, id: str) -> list[str]:
        return [event.message for event in self.tuning._jobs.events(id)]

    def types_told(self) -> list[NoticeType]:
        return [event.type for event in self.told]

    async def running(self, **changes: Any) -> Job:
        """A job whose training runs."""
        if "file-1" not in self.tuning._files._files:
            await self.add_file()
        job = await self.create(**changes)
        await self.steps()
        assert self.job(job.id).status is JobStatus.RUNNING
        return self.job(job.id)

    def finish(self, id: str) -> None:
        """Have a training make two checkpoints and end well."""
        folder = self.job(id).folder
        say = self.trainings.say
        say(id, ReportKind.STARTED, num_steps=20, num_examples=10, trained_tokens=50, resumed_from_step=0)
        for step in (10, 20):
            say(id, ReportKind.METRICS, step=step, num_steps=20, epoch=step / 10, loss=1 / step, tokens_per_second=9.0)
            say(id, ReportKind.CHECKPOINT, step=step, folder=f"{folder}/checkpoints/step-{step}", loss=1 / step)
        say(id, ReportKind.SAMPLES, samples=[{"prompt": "hi", "before": "hello", "after": "ahoy"}])
        say(
            id, ReportKind.FINISHED, folder=f"{folder}/result", num_steps=20, trained_tokens=100, loss=0.05,
            validation_loss=0.2, validation_loss_before=0.9,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
