"""Takes jobs from one status to the next: validates, places, starts, follows and ends their trainings.

One loop does it, once a second and when there is news, so that nothing of two steps runs at the same time. What a step
could not do, because the store, Ray or a training does not answer, the next one does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoscaling.cluster import Cluster
from autoscaling.placement import place, workers
from autoscaling.training_queue import Waiting, in_turn
from autoscaling.yielding import Holder, job_that_yields
from catalog import job_steps
from catalog.catalog import Catalog, VariantSpec
from catalog.errors import (
    JobStateConflict,
    PermissionDenied,
    RaymuxError,
    ServiceError,
    StoreUnavailable,
    TrainingFileNotFound,
)
from catalog.fine_tuning import FineTuningSettings, JobStatus, Report
from catalog.job_steps import Step
from catalog.jobs import Job, TrainingFile, Wish
from catalog.sources import SourceNotFound
from deployments.background import Background
from deployments.fine_tuning.jobs import Jobs
from deployments.fine_tuning.metrics import TuningMetrics
from deployments.fine_tuning.places import NO_TURN, Place, find_place
from deployments.fine_tuning.plans import plan_of
from deployments.fine_tuning.results import MAX_SERVED_CHECKPOINTS, checkpoint_name, entries, told
from deployments.fine_tuning.trainings import TrainingGone, Trainings
from deployments.manager.entries import work

logger = logging.getLogger("ray.serve")

INTERVAL_S = 1.0
# Saving a checkpoint of full weights may take that long; then the training is ended without.
PAUSE_TIMEOUT_S = 300.0
MAX_VALIDATIONS = 3
VALIDATION_ATTEMPTS = 3


@dataclass(frozen=True)
class Surroundings:
    """What the jobs live in. `register` puts an entry into the catalog, by the fields of the configuration."""

    settings: Callable[[], FineTuningSettings]
    catalog: Callable[[], Catalog]
    look: Callable[[], Awaitable[Cluster]]
    register: Callable[[dict[str, Any]], Awaitable[None]]
    file: Callable[[Job, str], TrainingFile]
    validate: Callable[[VariantSpec, Sequence[TrainingFile]], Awaitable[int]]


class Runner:
    """The loop. `has_news` is set when a step should be taken at once."""

    def __init__(
        self,
        jobs: Jobs,
        trainings: Trainings,
        around: Surroundings,
        metrics: TuningMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.has_news = asyncio.Event()
        self._jobs = jobs
        self._trainings = trainings
        self._around = around
        self._metrics = metrics
        self._clock = clock
        self._validating: dict[str, int] = {}
        self._under_way: set[str] = set()
        # Trainings that were told to pause; a new manager tells them again.
        self._told_to_pause: set[str] = set()
        self._background = Background()

    async def run(self) -> None:
        """Take steps for ever."""
        await work(self.step, self.has_news)

    async def step(self) -> float:
        """Do for each job what is due. Returns the seconds until the next step."""
        jobs = self._jobs.all()
        await self._each(self._end_training, [job for job in jobs if _is_left_over(job)])
        self._begin_validations()
        await self._each(self._follow, [job for job in jobs if job.status is JobStatus.RUNNING])
        await self._tried(self._start_next(), "a job")
        await self._tried(self._jobs.forget_old(), "old jobs")
        return INTERVAL_S

    async def _each(self, work: Callable[[Job], Coroutine[Any, Any, None]], jobs: Sequence[Job]) -> None:
        await asyncio.gather(*(self._tried(work(job), job.id) for job in jobs))

    async def _tried(self, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            await work
        except (JobStateConflict, StoreUnavailable, KeyError):
            # Somebody was faster, or the store has logged it: the next step sees how it stands by then.
            return
        except Exception as error:
            logger.error("fine-tuning: a step of %s failed: %r", what, error)

    # Validation

    def _begin_validations(self) -> None:
        for job in self._jobs.open():
            is_due = job.status is JobStatus.VALIDATING_FILES and job.id not in self._under_way
            if is_due and len(self._under_way) < MAX_VALIDATIONS:
                self._under_way.add(job.id)
                self._background.start(self._tried(self._validate(job), job.id))

    async def _validate(self, job: Job) -> None:
        try:
            files = [self._around.file(job, id) for id in job.files]
            max_tokens = await self._around.validate(self._variants(job)[0], files)
            await self._jobs.change(job.id, lambda job: job_steps.validated(job, max_tokens))
            self._validating.pop(job.id, None)
        except ServiceError:
            attempts = self._validating[job.id] = self._validating.get(job.id, 0) + 1
            if attempts >= VALIDATION_ATTEMPTS:
                await self._fail(job, "validation_failed", "The files or the model's tokenizer could not be read.")
        except JobStateConflict:
            raise
        except RaymuxError as error:
            await self._fail(job, error.code, error.message, error.param)
        except SourceNotFound as error:
            await self._fail(job, "model_not_found", f"{job.request.model}: {error.for_callers}.", "model")
        except LookupError:
            await self._fail(job, "model_not_found", _left(job), "model")
        finally:
            self._under_way.discard(job.id)
            self.has_news.set()

    async def _fail(self, job: Job, code: str, reason: str, param: str | None = None) -> None:
        now_s = self._clock()
        await self._change(job, lambda job: job_steps.failed(job, now_s, code, reason, param))

    async def _change(self, job: Job, step: Callable[[Job], Step | None]) -> Job:
        """Take a step, and tell receivers of webhooks if it was the last."""
        now_s = self._clock()
        return await self._jobs.change(job.id, step, lambda job: told(job, now_s) if job.status.has_ended else [])

    def _variants(self, job: Job) -> list[VariantSpec]:
        """The variants whose shapes the job may have. Raises LookupError when its model has left the catalog."""
        known = self._around.catalog().variants
        found = [known[key] for key in job.request.variants if key in known]
        if not found:
            raise LookupError(job.request.model)
        return found

    # Starting

    async def _start_next(self) -> None:
        """Start at most one job, so that the next look at the cluster knows of it, and say what the others wait for."""
        jobs, now_s, settings = self._jobs.all(), self._clock(), self._around.settings()
        active = [job for job in jobs if job.has_training]
        waiting = {job.id: job for job in jobs if job.status is JobStatus.QUEUED and not job.has_training}
        if not waiting:
            return
        last_started_s: dict[str, float] = {}
        for job in jobs:
            tenant = job.request.tenant
            last_started_s[tenant] = max(last_started_s.get(tenant, 0.0), job.started_s or 0.0)
        turns = in_turn(
            [Waiting(job.id, job.request.tenant, job.queued_s, job.not_before_s) for job in waiting.values()],
            [job.request.tenant for job in active],
            last_started_s,
            now_s,
        )
        num_left, has_started = settings.max_active_jobs - len(active), False
        for id in turns:
            if num_left <= 0:
                await self._jobs.change(id, lambda job: job_steps.waiting(job, NO_TURN))
            elif not has_started:
                has_started = await self._start(waiting[id], settings)
                num_left -= has_started

    async def _start(self, job: Job, settings: FineTuningSettings) -> bool:
        try:
            variants = self._variants(job)
            found = find_place(variants, await self._around.look(), settings.num_cpus)
            if not isinstance(found, Place):
                await self._jobs.change(job.id, lambda job: job_steps.waiting(job, found))
                return False
            plan = plan_of(job, variants[0], found.workers, [self._around.file(job, id) for id in job.files], settings)
        except LookupError:
            await self._fail(job, "model_not_found", _left(job), "model")
            return False
        except TrainingFileNotFound as error:
            await self._fail(job, error.code, error.message, "training_file")
            return False
        now_s = self._clock()
        # Written first: a manager that dies now finds that there may be a training, and looks for it.
        await self._jobs.change(job.id, lambda job: job_steps.started(job, found.shape, now_s))
        try:
            await self._trainings.start(plan)
        except Exception as error:
            logger.error("the training of %s could not be started: %r", job.id, error)
            await self._lose(job, may_exist=True)
        return True

    async def _lose(self, job: Job, *, may_exist: bool = False) -> None:
        now_s, most = self._clock(), self._around.settings().max_failures

        def step(job: Job) -> Step:
            lost = job_steps.lost(job, now_s, most)
            return replace(lost, job=replace(lost.job, has_training=may_exist))

        await self._change(job, step)

    # Following

    async def _follow(self, job: Job) -> None:
        if job.result is not None:
            await self._publish(job)
            return
        try:
            reports = await self._trainings.news(job.id, job.num_heard)
            after = await self._hear(job, reports) if reports else self._jobs.get(job.id)
            if after.status is JobStatus.RUNNING and after.result is None:
                await self._have_it_pause(after)
            elif after.result is not None and after.status is JobStatus.RUNNING:
                await self._publish(after)
            elif _is_left_over(after):
                await self._end_training(after)
        except TrainingGone:
            await self._lose(job)

    async def _hear(self, job: Job, reports: Sequence[Report]) -> Job:
        now_s = self._clock()

        def step(job: Job) -> Step:
            notes = []
            for report in reports:
                if job.status is not JobStatus.RUNNING or report.number <= job.num_heard:
                    continue
                name = checkpoint_name(job, report.data.get("step", 0))
                taken = job_steps.reported(job, report, name, now_s)
                job = taken.job
                notes += taken.notes
            return Step(job, tuple(notes))

        after = await self._change(job, step)
        self._metrics.note(job, after)
        return after

    async def _have_it_pause(self, job: Job) -> None:
        if job.wish is Wish.NONE:
            self._told_to_pause.discard(job.id)
            return
        if self._clock() - job.wished_s > PAUSE_TIMEOUT_S:
            logger.warning("the training of %s has not paused in time, and is ended", job.id)
            now_s = self._clock()
            await self._jobs.change(job.id, lambda job: job_steps.put_away(job, now_s))
        elif job.id not in self._told_to_pause:
            await self._trainings.pause(job.id)
            self._told_to_pause.add(job.id)

    async def _end_training(self, job: Job) -> None:
        await self._trainings.kill(job.id)
        self._told_to_pause.discard(job.id)
        await self._jobs.change(job.id, job_steps.training_ended)

    async def _publish(self, job: Job) -> None:
        """Put a result into the catalog, which it may be in already, in part or as a whole."""
        assert job.result is not None
        left_out = [made.name for made in job.checkpoints[:-MAX_SERVED_CHECKPOINTS]]
        *checkpoints, final = entries(job, job.checkpoints, job.result["folder"])
        for entry in checkpoints:
            try:
                await self._around.register(entry.fields)
            except ServiceError:
                raise
            except RaymuxError as error:
                logger.warning("checkpoint %s is not served: %s", entry.name, error.message)
                left_out.append(entry.name)
        try:
            await self._around.register(final.fields)
        except ServiceError:
            raise
        except RaymuxError as error:
            # That one says where results may be, which is nobody's business.
            why = "its files are elsewhere." if isinstance(error, PermissionDenied) else error.message
            await self._fail(job, error.code, f"The result cannot be served: {why}")
            return
        now_s = self._clock()
        after = await self._change(job, lambda job: job_steps.registered(job, now_s, job.name, tuple(left_out)))
        await self._end_training(after)

    # Yielding

    def make_room(self, spec: VariantSpec) -> None:
        """A replica of a variant finds its place occupied: have a job give its own back, if jobs do so."""
        if self._around.settings().yields_to_inference:
            self._background.start(self._tried(self._make_room(spec), spec.key))

    async def _make_room(self, spec: VariantSpec) -> None:
        running = [job for job in self._jobs.open() if job.status is JobStatus.RUNNING and job.result is None]
        if any(job.wish is Wish.QUEUE for job in running):
            # Room is being made already.
            return
        num_cpus = self._around.settings().num_cpus
        holders = [
            Holder(job.id, workers(each.settings, num_cpus).bundles, job.started_s or 0.0)
            for job in running
            for each in self._variants(job)
            if each.settings.shape == job.shape
        ]
        placement = place(spec.settings)
        id = job_that_yields(await self._around.look(), placement.bundles, placement.strategy, holders)
        if id is not None:
            now_s = self._clock()
            logger.info("fine-tuning job %s gives its place to %s", id, spec.key)
            await self._jobs.change(id, lambda job: job_steps.asked_to_yield(job, now_s))
            self.has_news.set()


def _is_left_over(job: Job) -> bool:
    """Whether a training of a job may exist that does not run any more."""
    return job.has_training and job.status is not JobStatus.RUNNING


def _left(job: Job) -> str:
    return f"{job.request.model} has left the catalog, or has no variant any more on which the job may train."
