from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import (
    FileInUse,
    InvalidRequest,
    JobNotFound,
    ModelExists,
    PermissionDenied,
    RaymuxError,
    TooManyJobs,
    TrainingFileNotFound,
)
from catalog.fine_tuning import Method
from catalog.jobs import Form, TrainingFile
from deployments.fine_tuning import facade as facade_module
from deployments.fine_tuning import files as files_module
from deployments.fine_tuning import jobs as jobs_module
from deployments.fine_tuning.curves import MAX_POINTS, curve_of
from deployments.fine_tuning.files import STORING_S
from deployments.fine_tuning.storage import PART
from deployments.manager.store import Kind
from deployments.metric_families import exposition
from tests.unit.builders import PIRATE, until
from tests.unit.deployments.fine_tuning.conftest import World


@pytest.mark.parametrize(
    ("request_", "error", "param"),
    [
        ({"training_file": "nobody"}, TrainingFileNotFound, "training_file"),
        ({"validation_file": "nobody"}, TrainingFileNotFound, "validation_file"),
        ({"tenant": "other"}, TrainingFileNotFound, "training_file"),
        ({"method": Method.DPO}, InvalidRequest, "training_file"),
        ({"validation_file": "file-2"}, InvalidRequest, "validation_file"),
        ({"suffix": PIRATE.rpartition(":")[2]}, ModelExists, "suffix"),
        ({"suffix": "taken"}, ModelExists, "suffix"),
    ],
)
async def test_a_wish_that_cannot_be_met_is_refused_and_nothing_is_started(
    world: World, request_: dict[str, Any], error: type[RaymuxError], param: str
) -> None:
    await world.add_file()
    await world.add_file("file-2", form=Form.COMPLETION)
    taken = await world.create(suffix="taken")
    with pytest.raises(error) as caught:
        await world.create(**request_)
    assert caught.value.param == param
    assert [job.id for job in world.tuning._jobs.all()] == [taken.id]


async def test_a_tenant_has_so_many_open_jobs_and_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tuning.follow(world.settings.model_copy(update={"max_open_jobs": 2}))
    await world.add_file()
    first = await world.create()
    await world.create()
    with pytest.raises(TooManyJobs):
        await world.create()
    await world.tuning.call("cancel", "acme", first.id)
    await world.create()
    monkeypatch.setattr(files_module, "MAX_FILES", 1)
    with pytest.raises(TooManyJobs):
        await world.add_file("file-2")
    await world.add_file("file-2", tenant="other")


async def test_files_and_jobs_of_another_tenant_are_not_there(world: World) -> None:
    job = await world.running()
    for verb in ("job", "events", "cancel", "pause", "resume"):
        with pytest.raises(JobNotFound):
            await world.tuning.call(verb, "other", job.id)
    for verb in ("file", "delete_file"):
        with pytest.raises(TrainingFileNotFound):
            await world.tuning.call(verb, "other", "file-1")
    assert (await world.tuning.call("jobs", "other"), await world.tuning.call("files", "other")) == ([], [])
    assert len(await world.tuning.call("jobs", "acme")) == len(await world.tuning.call("files", "acme")) == 1


async def test_a_file_is_deleted_when_no_job_needs_it(world: World) -> None:
    job = await world.running()
    (world.folder / "file-1.jsonl").write_text("{}")
    with pytest.raises(FileInUse):
        await world.tuning.call("delete_file", "acme", "file-1")
    await world.tuning.call("cancel", "acme", job.id)
    await world.tuning.call("delete_file", "acme", "file-1")
    await until(lambda: not (world.folder / "file-1.jsonl").exists())
    await world.restart()
    assert await world.tuning.call("files", "acme") == []


def file_at(world: World, path: Path) -> TrainingFile:
    return TrainingFile(
        id="file-1", tenant="acme", filename="a.jsonl", num_bytes=10, num_examples=1, form=Form.CHAT,
        location=str(path), created_s=world.clock.now_s,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["", PART])
async def test_what_a_killed_gateway_has_left_is_shown_to_nobody_and_deleted_after_an_hour(
    world: World, suffix: str
) -> None:
    path = world.folder / "file-1.jsonl"
    await world.tuning.call("expect_file", file_at(world, path))
    left = path.with_name(path.name + suffix)
    left.write_text("{}")
    await world.restart()
    world.clock.now_s += STORING_S - 1
    await world.tuning._files.sweep()
    assert left.exists()
    assert await world.tuning.call("files", "acme") == []
    with pytest.raises(TrainingFileNotFound):
        await world.tuning.call("file", "acme", "file-1")
    world.clock.now_s += 2
    await world.tuning._files.sweep()
    assert not left.exists()
    with pytest.raises(TrainingFileNotFound):
        await world.tuning.call("keep_file", "acme", "file-1")
    assert await world.store.read(Kind.FILE) == {}


async def test_what_a_killed_manager_was_deleting_is_deleted_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add_file()
    path = world.folder / "file-1.jsonl"
    path.write_text("{}")
    tried: list[str] = []

    def fail(location: str) -> None:
        tried.append(location)
        raise OSError

    monkeypatch.setattr(files_module, "delete", fail)
    await world.tuning.call("delete_file", "acme", "file-1")
    assert await world.tuning.call("files", "acme") == []
    await until(lambda: tried)
    monkeypatch.undo()
    await world.restart()
    assert path.exists()
    world.clock.now_s += STORING_S + 1
    await world.tuning._files.sweep()
    assert not path.exists()


async def test_files_outlive_the_manager(world: World) -> None:
    file = await world.add_file()
    await world.restart()
    assert await world.tuning.call("file", "acme", "file-1") == file


async def test_only_verbs_are_called_and_only_while_it_is_on(world: World) -> None:
    for verb in ("restore", "_require_room", "__init__"):
        with pytest.raises(InvalidRequest):
            await world.tuning.call(verb)
    world.tuning.follow(None)
    with pytest.raises(PermissionDenied):
        await world.tuning.call("files", "acme")


async def test_events_are_told_from_a_number_on(world: World) -> None:
    job = await world.running()
    _, events = await world.tuning.call("events", "acme", job.id)
    found, later = await world.tuning.call("events", "acme", job.id, events[1].number)
    assert (found.id, later) == (job.id, events[2:])


async def test_old_jobs_are_forgotten_with_their_events(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_ENDED", 1)
    await world.add_file()
    jobs = []
    for _ in range(3):
        world.clock.now_s += 1
        jobs.append(await world.create())
    for job in jobs[:2]:
        await world.tuning.call("cancel", "acme", job.id)
    await world.step()
    assert [job.id for job in world.tuning._jobs.all()] == [jobs[1].id, jobs[2].id]
    await world.restart()
    assert [job.id for job in world.tuning._jobs.all()] == [jobs[1].id, jobs[2].id]
    assert world.tuning._jobs.events(jobs[0].id) == []


def test_a_curve_keeps_its_shape_when_its_events_are_thinned() -> None:
    def event(number: int) -> Any:
        type_ = "message" if number % 100 == 0 else "metrics"
        return jobs_module.JobEvent(number=number, at_s=0.0, level="info", type=type_, message="")

    kept: list[Any] = []
    for number in range(10_000):
        kept = jobs_module.thinned([*kept, event(number)])
        assert len(kept) <= jobs_module.MAX_EVENTS
    numbers = [each.number for each in kept]
    assert numbers == sorted(set(numbers))
    assert set(range(0, 10_000, 100)) <= set(numbers), "no message is dropped while there are metrics"
    assert max(later - earlier for earlier, later in itertools.pairwise(numbers)) <= 100


async def test_metrics_say_how_jobs_stand_and_what_was_trained(world: World) -> None:
    job = await world.running()
    world.finish(job.id)
    await world.steps(2)
    text = exposition(world.tuning.metrics()).decode()
    assert 'fine_tuning_jobs{status="succeeded"} 1.0' in text
    assert 'fine_tuning_jobs{status="running"} 0.0' in text
    assert "fine_tuning_steps_total 20.0" in text
    assert "fine_tuning_trained_tokens_total 100.0" in text


async def test_curves_are_of_open_and_recent_jobs(world: World) -> None:
    job = await world.running()
    world.finish(job.id)
    await world.steps(2)
    ((shown, points),) = await world.tuning.call("curves")
    assert shown.id == job.id
    assert points == ((10, 0.1, None), (20, 0.05, None))
    world.clock.now_s += facade_module.RECENT_S
    assert await world.tuning.call("curves") == []


def test_a_curve_has_few_points_and_its_last() -> None:
    def event(step: int, **data: Any) -> Any:
        data = {"step": step, **data}
        return jobs_module.JobEvent(number=step, at_s=0.0, level="info", type="metrics", message="", data=data)

    events = [event(step, loss=1.0 / step) for step in range(1, 1_001)]
    curve = curve_of([*events, event(500, validation_loss=0.3), event(1_000, loss=0.5)])
    assert len(curve) <= MAX_POINTS + 1
    assert curve[-1] == (1_000, 0.5, None), "what was told last of a step counts"
    assert (500, 1.0 / 500, 0.3) in curve
    assert curve_of([]) == ()
