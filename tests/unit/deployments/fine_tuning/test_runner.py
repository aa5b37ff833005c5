"""The life of jobs, with restarts of the manager at every point of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from autoscaling.cluster import Cluster, Node
from catalog.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    JobStateConflict,
    ModelExists,
    PermissionDenied,
    StoreUnavailable,
)
from catalog.fine_tuning import FineTuningSettings, Hyperparameters, JobStatus, ReportKind
from catalog.jobs import Wish
from catalog.sources import SourceNotFound
from catalog.webhooks import NoticeType
from deployments.fine_tuning.runner import PAUSE_TIMEOUT_S
from tests.unit.builders import CHAT, catalog, until, variant
from tests.unit.deployments.fine_tuning.conftest import FULL, ROOMY, World


async def test_a_job_goes_from_its_files_to_a_model_in_the_catalog(world: World) -> None:
    await world.add_file()
    job = await world.create(suffix="pirates")
    assert job.status is JobStatus.VALIDATING_FILES
    await world.step()
    assert world.job(job.id).status is JobStatus.QUEUED
    await world.step()
    (plan,) = world.trainings.plans
    assert (plan.job_id, plan.seed, plan.max_tokens, plan.num_workers) == (job.id, 7, 512, 1)
    assert (plan.worker_resources, plan.folder) == ({"CPU": 1.0}, str(world.folder / "jobs" / job.id))
    assert plan.training_file == str(world.folder / "file-1.jsonl")
    world.finish(job.id)
    await world.steps()
    ended, name = world.job(job.id), f"peft:{CHAT}:pirates"
    assert (ended.status, ended.fine_tuned_model, ended.trained_tokens) == (JobStatus.SUCCEEDED, name, 100)
    assert [each["name"] for each in world.registered] == [f"{name}-step-10", f"{name}-step-20", name]
    assert world.types_told() == [NoticeType.JOB_SUCCEEDED, NoticeType.READY]
    assert (world.trainings.running, ended.has_training) == ({}, False)
    assert [made.name for made in ended.checkpoints] == [f"{name}-step-10", f"{name}-step-20"]
    assert ended.samples[0]["after"] == "ahoy"


async def test_full_weights_become_checkpoints_whose_newest_is_the_result(world: World) -> None:
    job = await world.running(hyperparameters=Hyperparameters(weights="full"), suffix="whole")
    world.finish(job.id)
    await world.steps()
    name = f"rl:{CHAT}:whole"
    assert [(each["name"], each["kind"]) for each in world.registered] == [
        (f"{name}:step-10", "full"), (f"{name}:step-20", "full"), (f"{name}:final", "full"),
    ]  # fmt: skip
    assert world.job(job.id).fine_tuned_model == name


@pytest.mark.parametrize("restart_after", range(12))
async def test_a_job_ends_the_same_whenever_the_manager_is_restarted(world: World, restart_after: int) -> None:
    await world.add_file()
    job = await world.create()
    for number in range(12):
        if number == restart_after:
            await world.restart()
        if number == 6:
            world.finish(job.id)
        await world.step()
    ended = world.job(job.id)
    assert (ended.status, ended.num_starts, ended.num_failures) == (JobStatus.SUCCEEDED, 1, 0)
    assert len(world.trainings.plans) == 1
    assert world.types_told() == [NoticeType.JOB_SUCCEEDED, NoticeType.READY]
    numbers = [event.number for event in world.tuning._jobs.events(job.id)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum("Step 10/20" in each for each in world.messages(job.id)) == 1


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (
            ContextLengthExceeded("line 3 is too long", param="training_file"),
            "context_length_exceeded",
            "training_file",
        ),
        (SourceNotFound("no folder at source '/secret'"), "model_not_found", "model"),
        (StoreUnavailable("no"), "validation_failed", None),
    ],
)
async def test_files_that_do_not_fit_fail_the_job_before_anything_is_started(
    world: World, error: Exception, code: str, param: str | None
) -> None:
    await world.add_file()
    world.validation_error = error
    job = await world.create()
    await world.steps(5)
    ended = world.job(job.id)
    assert (ended.status, ended.error_code, ended.error_param) == (JobStatus.FAILED, code, param)
    assert "secret" not in ended.error
    assert world.trainings.plans == []
    assert world.types_told() == [NoticeType.JOB_FAILED]


async def test_a_job_without_a_place_waits_and_says_so_once(world: World) -> None:
    world.cluster = FULL
    await world.add_file()
    job = await world.create()
    await world.steps(5)
    assert world.job(job.id).status is JobStatus.QUEUED
    assert "others hold" in world.job(job.id).waits_for
    assert sum("others hold" in each for each in world.messages(job.id)) == 1
    world.cluster = ROOMY
    await world.steps(2)
    assert (world.job(job.id).status, world.job(job.id).waits_for) == (JobStatus.RUNNING, "")


async def test_jobs_beyond_the_most_that_may_train_wait_for_their_turn(world: World) -> None:
    first, second = await world.running(), await world.create()
    await world.steps()
    assert (world.job(second.id).status, len(world.trainings.plans)) == (JobStatus.QUEUED, 1)
    assert "turn" in world.job(second.id).waits_for
    await world.tuning.call("cancel", "acme", first.id)
    await world.steps()
    assert world.job(second.id).status is JobStatus.RUNNING


async def test_tenants_take_turns(world: World) -> None:
    await world.add_file("file-2", tenant="other")
    first = await world.running()
    mine = await world.create()
    others = await world.create(tenant="other", training_file="file-2")
    await world.tuning.call("cancel", "acme", first.id)
    await world.steps()
    assert (world.job(others.id).status, world.job(mine.id).status) == (JobStatus.RUNNING, JobStatus.QUEUED)


async def validating(world: World) -> str:
    await world.add_file()
    return (await world.create()).id


async def queued(world: World) -> str:
    world.cluster = FULL
    await world.add_file()
    job = await world.create()
    await world.steps()
    return job.id


async def training(world: World) -> str:
    return (await world.running()).id


async def resting(world: World) -> str:
    id = await queued(world)
    await world.tuning.call("pause", "acme", id)
    return id


@pytest.mark.parametrize("stage", [validating, queued, training, resting])
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_job_can_be_cancelled_at_every_stage_and_leaves_nothing(
    world: World, stage: Callable[[World], Awaitable[str]], is_restarted: bool
) -> None:
    id = await stage(world)
    assert (await world.tuning.call("cancel", "acme", id)).status is JobStatus.CANCELLED
    if is_restarted:
        await world.restart()
    await world.step()
    assert world.trainings.running == {}
    await world.steps()
    assert (world.job(id).status, world.job(id).has_training) == (JobStatus.CANCELLED, False)
    assert world.told == []
    with pytest.raises(JobStateConflict):
        await world.tuning.call("cancel", "acme", id)


async def test_a_job_that_is_cancelled_while_it_starts_leaves_no_training(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add_file()
    job = await world.create()
    await world.step()
    start = world.trainings.start

    async def start_slowly(plan: Any) -> None:
        await world.tuning.call("cancel", "acme", job.id)
        await start(plan)

    monkeypatch.setattr(world.trainings, "start", start_slowly)
    await world.steps()
    assert (world.job(job.id).status, world.trainings.running) == (JobStatus.CANCELLED, {})


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_job_pauses_at_a_checkpoint_and_goes_on(world: World, is_restarted: bool) -> None:
    job = await world.running()
    paused = await world.tuning.call("pause", "acme", job.id)
    assert (paused.status, paused.wish) == (JobStatus.RUNNING, Wish.PAUSE)
    await world.steps(2)
    assert world.trainings.running[job.id].num_pauses == 1
    if is_restarted:
        await world.restart()
    world.trainings.say(job.id, ReportKind.PAUSED, step=5)
    await world.steps(2)
    assert (world.job(job.id).status, world.trainings.running) == (JobStatus.PAUSED, {})
    await world.steps(2)
    assert len(world.trainings.plans) == 1
    assert (await world.tuning.call("resume", "acme", job.id)).status is JobStatus.QUEUED
    await world.steps(2)
    assert (world.job(job.id).status, world.job(job.id).num_starts) == (JobStatus.RUNNING, 2)
    assert world.trainings.plans[0] == world.trainings.plans[1]
    world.finish(job.id)
    await world.steps(2)
    assert world.job(job.id).status is JobStatus.SUCCEEDED


async def test_a_job_that_is_resumed_while_it_pauses_is_queued_again(world: World) -> None:
    job = await world.running()
    await world.tuning.call("pause", "acme", job.id)
    await world.step()
    await world.tuning.call("resume", "acme", job.id)
    world.trainings.say(job.id, ReportKind.PAUSED, step=5)
    await world.steps(40)
    assert (world.job(job.id).status, world.job(job.id).num_starts) == (JobStatus.RUNNING, 2)


async def test_a_training_that_does_not_pause_in_time_is_ended(world: World) -> None:
    job = await world.running()
    await world.tuning.call("pause", "acme", job.id)
    await world.step()
    world.clock.now_s += PAUSE_TIMEOUT_S + 1
    await world.steps(2)
    assert (world.job(job.id).status, world.trainings.running) == (JobStatus.PAUSED, {})


async def test_pause_and_resume_that_change_nothing_are_no_errors(world: World) -> None:
    job = await world.running()
    assert (await world.tuning.call("resume", "acme", job.id)).status is JobStatus.RUNNING
    await world.tuning.call("pause", "acme", job.id)
    await world.tuning.call("pause", "acme", job.id)
    assert sum("pauses" in each for each in world.messages(job.id)) == 1


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel"])
async def test_nothing_is_done_to_a_job_that_has_ended(world: World, verb: str) -> None:
    job = await world.running()
    world.finish(job.id)
    await world.steps(2)
    with pytest.raises(JobStateConflict):
        await world.tuning.call(verb, "acme", job.id)
    assert world.job(job.id).status is JobStatus.SUCCEEDED


async def test_a_training_that_vanishes_is_started_again_until_it_has_failed_too_often(world: World) -> None:
    world.settings = world.settings.model_copy(update={"max_failures": 2})
    world.tuning.follow(world.settings)
    job = await world.running()
    for num_starts in (2, 3):
        world.trainings.running.clear()
        await world.steps(2)
        assert (world.job(job.id).status, world.job(job.id).num_starts) == (JobStatus.RUNNING, num_starts)
    world.trainings.running.clear()
    await world.steps(2)
    assert (world.job(job.id).status, world.job(job.id).error_code) == (JobStatus.FAILED, "training_lost")
    assert world.types_told() == [NoticeType.JOB_FAILED]


async def test_one_that_vanishes_while_it_pauses_is_paused(world: World) -> None:
    job = await world.running()
    await world.tuning.call("pause", "acme", job.id)
    world.trainings.running.clear()
    await world.steps(2)
    assert world.job(job.id).status is JobStatus.PAUSED


async def test_a_start_that_fails_is_tried_again_and_leaves_no_second_training(world: World) -> None:
    await world.add_file()
    job = await world.create()
    world.trainings.refuses_to_start = True
    await world.steps(2)
    assert job.id in world.trainings.killed or world.job(job.id).has_training
    world.trainings.refuses_to_start = False
    await world.steps(3)
    assert (world.job(job.id).status, world.job(job.id).num_failures) == (JobStatus.RUNNING, 1)


async def test_a_training_that_fails_fails_its_job(world: World) -> None:
    job = await world.running()
    world.trainings.say(job.id, ReportKind.FAILED, reason="the loss is no number")
    await world.step()
    ended = world.job(job.id)
    assert (ended.status, ended.error) == (JobStatus.FAILED, "the loss is no number")
    assert world.trainings.running == {}


async def test_a_store_that_fails_loses_and_repeats_nothing(world: World) -> None:
    job = await world.running()
    world.finish(job.id)
    world.is_store_down = True
    await world.steps()
    assert (world.job(job.id).status, world.told) == (JobStatus.RUNNING, [])
    for verb in ("pause", "cancel"):
        with pytest.raises(StoreUnavailable):
            await world.tuning.call(verb, "acme", job.id)
    with pytest.raises(StoreUnavailable):
        await world.create()
    world.is_store_down = False
    await world.steps(2)
    assert world.job(job.id).status is JobStatus.SUCCEEDED
    assert sum("Step 10/20" in each for each in world.messages(job.id)) == 1
    assert world.types_told() == [NoticeType.JOB_SUCCEEDED, NoticeType.READY]


async def test_a_checkpoint_that_cannot_be_served_is_left_out(world: World) -> None:
    job = await world.running()
    world.refusals[f"{job.name}-step-10"] = InvalidRequest("gone")
    world.finish(job.id)
    await world.steps(2)
    assert world.job(job.id).status is JobStatus.SUCCEEDED
    assert [made.step for made in world.job(job.id).checkpoints] == [20]


async def test_a_result_that_cannot_be_served_fails_the_job(world: World) -> None:
    job = await world.running()
    world.refusals[job.name] = ModelExists("taken")
    world.finish(job.id)
    await world.steps(2)
    assert (world.job(job.id).status, world.job(job.id).error_code) == (JobStatus.FAILED, "model_exists")


async def test_a_refusal_of_the_registry_tells_no_paths(world: World) -> None:
    job = await world.running()
    world.refusals[job.name] = PermissionDenied("source must be in /secret/folder")
    world.finish(job.id)
    await world.steps(2)
    assert (world.job(job.id).status, "secret" in world.job(job.id).error) == (JobStatus.FAILED, False)


async def test_a_job_whose_result_may_be_in_the_catalog_is_not_cancelled(world: World) -> None:
    job = await world.running()
    world.refusals[job.name] = StoreUnavailable("full")
    world.finish(job.id)
    await world.steps(2)
    with pytest.raises(JobStateConflict):
        await world.tuning.call("cancel", "acme", job.id)


async def test_a_result_waits_for_a_registry_that_cannot_be_written(world: World) -> None:
    job = await world.running()
    world.refusals[job.name] = StoreUnavailable("full")
    world.finish(job.id)
    await world.steps(3)
    assert world.job(job.id).status is JobStatus.RUNNING
    world.refusals.clear()
    await world.steps(2)
    assert world.job(job.id).status is JobStatus.SUCCEEDED


async def test_a_base_that_leaves_the_catalog_fails_the_jobs_that_wait(world: World) -> None:
    id = await queued(world)
    models = [each for each in world.catalog.settings.models if each.name != CHAT]
    world.catalog = catalog(models=models, adapters=[], checkpoints=[])
    await world.steps(2)
    assert (world.job(id).status, world.job(id).error_code) == (JobStatus.FAILED, "model_not_found")


async def test_fine_tuning_that_is_turned_off_lets_trainings_go_on_and_starts_none(world: World) -> None:
    first = await world.running()
    second = await world.create()
    world.tuning.follow(None)
    world.finish(first.id)
    await world.steps(4)
    assert (world.job(first.id).status, world.job(second.id).status) == (JobStatus.SUCCEEDED, JobStatus.QUEUED)


# Yielding

HALF = Cluster((Node({"CPU": 2.0}, {"CPU": 0.5}),))


@pytest.mark.parametrize("yields", [True, False])
async def test_a_job_gives_its_place_to_a_model_if_jobs_do(world: World, yields: bool) -> None:
    world.tuning.follow(FineTuningSettings(results=world.settings.results, yields_to_inference=yields))
    job = await world.running()
    world.cluster = HALF
    world.tuning.make_room(variant())
    await until(lambda: bool(world.job(job.id).wish) is yields)
    await world.steps(2)
    assert world.trainings.running[job.id].num_pauses == int(yields)
    if not yields:
        return
    world.trainings.say(job.id, ReportKind.PAUSED, step=5)
    world.cluster = ROOMY
    await world.steps(5)
    assert (world.job(job.id).status, world.trainings.running) == (JobStatus.QUEUED, {}), (
        "it leaves its place for a while"
    )
    await world.steps(30)
    assert (world.job(job.id).status, world.job(job.id).num_starts) == (JobStatus.RUNNING, 2)


async def test_a_record_of_a_job_comes_back_as_it_was(world: World) -> None:
    job = await world.running(metadata={"a": "b"}, given=("n_epochs",))
    world.finish(job.id)
    await world.steps(2)
    before = world.job(job.id)
    await world.restart()
    assert world.job(job.id) == before
    assert dataclasses.asdict(world.job(job.id)) == dataclasses.asdict(before)
