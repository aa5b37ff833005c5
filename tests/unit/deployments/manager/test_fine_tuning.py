"""The manager with fine-tuning on: what a job makes is served by it, without a restart."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from catalog.catalog import VariantSpec
from catalog.errors import ModelNotFound, PermissionDenied
from catalog.fine_tuning import JobStatus, Method, ReportKind
from catalog.jobs import Form, Job, JobRequest, TrainingFile
from catalog.project import PROJECT
from deployments.fine_tuning import facade
from deployments.fine_tuning import runner as runner_module
from tests.unit.builders import CHAT, until
from tests.unit.deployments.fine_tuning.conftest import FakeTrainings
from tests.unit.deployments.manager.conftest import FakeControl
from tests.unit.deployments.manager.test_manager import control, names, new_manager, reconfigure

__all__ = ["control"]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> FakeTrainings:
    async def validate(spec: VariantSpec, files: Sequence[TrainingFile]) -> int:
        return 512

    trainings = FakeTrainings()
    monkeypatch.setattr(facade, "RayTrainings", lambda: trainings)
    monkeypatch.setattr(facade, "validate_files", validate)
    monkeypatch.setattr(runner_module, "INTERVAL_S", 0)
    return trainings


@pytest.fixture
async def manager(control: FakeControl, trainings: FakeTrainings, tmp_path: Path) -> AsyncIterator[Any]:
    manager = new_manager(tmp_path)
    yield manager
    await ended(manager)


async def ended(manager: Any) -> None:
    tasks = list(manager._background)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def create(manager: Any, **changes: Any) -> Job:
    file = TrainingFile(
        id="file-1", tenant="acme", filename="a", num_bytes=1, num_examples=1, form=Form.CHAT, location="/nowhere",
        created_s=1,
    )  # fmt: skip
    await manager.fine_tuning("expect_file", file)
    await manager.fine_tuning("keep_file", "acme", "file-1")
    fields: dict[str, Any] = {
        "tenant": "acme", "model": CHAT, "variants": (f"{CHAT}@CPU",), "method": Method.SUPERVISED,
        "training_file": "file-1", "suffix": "pirates",
    }  # fmt: skip
    return await manager.fine_tuning("create", JobRequest(**{**fields, **changes}))


async def status(manager: Any, id: str) -> JobStatus:
    return (await manager.fine_tuning("job", "acme", id)).status


async def until_status(manager: Any, id: str, wanted: JobStatus) -> None:
    while await status(manager, id) is not wanted:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_without_the_setting_nothing_is_taken(manager: Any) -> None:
    await reconfigure(manager)
    assert isinstance(await manager.fine_tuning("files", "acme"), PermissionDenied)


async def test_it_can_be_turned_on_and_off_while_the_manager_runs(manager: Any, tmp_path: Path) -> None:
    await reconfigure(manager)
    await reconfigure(manager, fine_tuning={"results": str(tmp_path / "jobs")})
    assert await manager.fine_tuning("files", "acme") == []
    await reconfigure(manager)
    assert isinstance(await manager.fine_tuning("files", "acme"), PermissionDenied)


async def test_what_a_job_has_made_is_served_at_once_and_after_a_restart(
    manager: Any, trainings: FakeTrainings, tmp_path: Path
) -> None:
    settings = {"results": str(tmp_path / "jobs")}
    await reconfigure(manager, fine_tuning=settings)
    job = await create(manager)
    await until(lambda: job.id in trainings.running)
    for name in ("checkpoints/step-10", "result"):
        await asyncio.to_thread(shutil.copytree, PROJECT / "models/adapters/job_pirate", Path(job.folder) / name)
    trainings.say(job.id, ReportKind.CHECKPOINT, step=5, folder=f"{job.folder}/checkpoints/step-5")
    trainings.say(job.id, ReportKind.CHECKPOINT, step=10, folder=f"{job.folder}/checkpoints/step-10")
    trainings.say(job.id, ReportKind.FINISHED, folder=f"{job.folder}/result", num_steps=10, trained_tokens=7)
    await until_status(manager, job.id, JobStatus.SUCCEEDED)
    name = f"peft:{CHAT}:pirates"
    found = await names(manager)
    assert {name, f"{name}-step-10"} <= found
    assert f"{name}-step-5" not in found, "its files are gone"
    assert isinstance(await manager.fine_tuning("job", "other", job.id), Exception)
    await ended(manager)
    again = new_manager(tmp_path)
    await reconfigure(again, fine_tuning=settings)
    assert name in await names(again)
    assert await status(again, job.id) is JobStatus.SUCCEEDED
    await ended(again)


async def test_a_result_may_not_lie_elsewhere(manager: Any, trainings: FakeTrainings, tmp_path: Path) -> None:
    await reconfigure(manager, fine_tuning={"results": str(tmp_path / "jobs")})
    job = await create(manager)
    await until(lambda: job.id in trainings.running)
    elsewhere = str(PROJECT / "models/adapters/job_pirate")
    trainings.say(job.id, ReportKind.FINISHED, folder=elsewhere, num_steps=1, trained_tokens=1)
    await until_status(manager, job.id, JobStatus.FAILED)
    assert isinstance(await manager.start(f"peft:{CHAT}:pirates"), ModelNotFound)
