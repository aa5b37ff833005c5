"""The manager's one object for fine-tuning: what gateways ask of it, by verbs, and what it does by itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from autoscaling.cluster import Cluster
from catalog import job_steps
from catalog.catalog import Catalog, VariantSpec
from catalog.errors import InvalidRequest, ModelExists, PermissionDenied, TooManyJobs
from catalog.fine_tuning import FineTuningSettings
from catalog.job_steps import Note
from catalog.jobs import FORMS, Curve, Job, JobEvent, JobRequest, TrainingFile
from catalog.project import PROJECT
from deployments.fine_tuning.curves import curve_of
from deployments.fine_tuning.files import TrainingFiles
from deployments.fine_tuning.jobs import Jobs, Write
from deployments.fine_tuning.metrics import TuningMetrics
from deployments.fine_tuning.packages import is_installed
from deployments.fine_tuning.ray_trainings import RayTrainings
from deployments.fine_tuning.results import model_name
from deployments.fine_tuning.runner import Runner, Surroundings
from deployments.fine_tuning.trainings import Trainings
from deployments.fine_tuning.validation import validate_files
from deployments.manager.store import Store
from deployments.metric_families import Snapshot

# What the dashboard shows of jobs.
MAX_CURVES = 20
RECENT_S = 86_400.0

Register = Callable[[dict[str, Any], str], Awaitable[None]]
Validate = Callable[[VariantSpec, Sequence[TrainingFile]], Awaitable[int]]


class FineTuning:
    """Files and jobs. `register(fields, root)` puts an entry into the catalog whose files lie in the folder `root`."""

    VERBS = frozenset(
        {
            "expect_file", "keep_file", "files", "file", "delete_file", "create", "jobs", "job", "events", "cancel",
            "pause", "resume", "curves",
        }
    )  # fmt: skip

    def __init__(
        self,
        store: Store,
        write: Write,
        catalog: Callable[[], Catalog],
        look: Callable[[], Awaitable[Cluster]],
        register: Register,
        trainings: Trainings | None = None,
        validate: Validate | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._catalog = catalog
        self._settings = FineTuningSettings(max_active_jobs=0)
        self._is_on = False
        # A file must not go between the look at it and the job that reads it, nor a name be taken twice.
        self._changing = asyncio.Lock()
        self._jobs = Jobs(store, write, clock)
        self._files = TrainingFiles(store, lambda: [id for job in self._jobs.open() for id in job.files], clock)
        self._metrics = TuningMetrics()
        around = Surroundings(
            settings=lambda: self._settings,
            catalog=catalog,
            look=look,
            register=lambda fields: register(fields, self._settings.results),
            file=lambda job, id: self._files.find(job.request.tenant, id),
            validate=validate or validate_files,
        )
        self._runner = Runner(self._jobs, trainings or RayTrainings(), around, self._metrics, clock)

    async def restore(self) -> None:
        """Take over what the store holds."""
        await self._files.restore()
        await self._jobs.restore()

    def follow(self, settings: FineTuningSettings | None) -> None:
        """Obey these settings from now on. With None no job starts any more, and those that train go on."""
        self._is_on = settings is not None
        self._settings = settings or self._settings.model_copy(update={"max_active_jobs": 0})
        self._runner.has_news.set()

    async def run(self) -> None:
        """Look after jobs and files for ever."""
        await asyncio.gather(self._runner.run(), self._files.run())

    def make_room(self, spec: VariantSpec) -> None:
        """A replica of a variant finds its place occupied. Returns at once."""
        self._runner.make_room(spec)

    def metrics(self) -> Snapshot:
        """What was counted since this manager runs, and how the jobs stand."""
        return self._metrics.snapshot(self._jobs.all())

    async def call(self, verb: str, *arguments: Any) -> Any:
        """One of the verbs, which are methods of this class. Raises PermissionDenied while fine-tuning is off."""
        if not self._is_on:
            raise PermissionDenied("This service takes no fine-tuning jobs just now.")
        if verb not in self.VERBS:
            raise InvalidRequest("There is no such verb.")
        return await getattr(self, verb)(*arguments)

    # Files

    async def expect_file(self, file: TrainingFile) -> None:
        await self._files.expect(file)

    async def keep_file(self, tenant: str, id: str) -> TrainingFile:
        return await self._files.keep(tenant, id)

    async def files(self, tenant: str) -> list[TrainingFile]:
        return self._files.of(tenant)

    async def file(self, tenant: str, id: str) -> TrainingFile:
        return self._files.find(tenant, id)

    async def delete_file(self, tenant: str, id: str) -> None:
        async with self._changing:
            await self._files.delete(tenant, id)

    # Jobs

    async def create(self, request: JobRequest) -> Job:
        """A new job, whose files are validated next.

        Raises PermissionDenied, TrainingFileNotFound, InvalidRequest for a file of another form, ModelExists,
        TooManyJobs or StoreUnavailable.
        """
        if not is_installed():
            raise PermissionDenied("This service cannot train: what that needs is not installed where it runs.")
        async with self._changing:
            self._require_files(request)
            self._require_room(request.tenant)
            id, now_s = f"ftjob-{uuid.uuid4().hex[:24]}", self._clock()
            name = model_name(request.model, request.suffix or id, request.hyperparameters.weights)
            self._require_free(name)
            folder = str(PROJECT / self._settings.results / id)
            job = Job(id=id, request=request, name=name, folder=folder, created_s=now_s, queued_s=now_s)
            job = await self._jobs.add(job, Note("The job is created; its files are being validated."))
        self._runner.has_news.set()
        return job

    def _require_files(self, request: JobRequest) -> None:
        forms = FORMS[request.method]
        training = self._files.find(request.tenant, request.training_file, "training_file")
        if training.form not in forms:
            raise InvalidRequest(
                f"training_file holds {training.form} examples; {request.method} takes {' or '.join(forms)} ones.",
                param="training_file",
            )
        if request.validation_file is None:
            return
        validation = self._files.find(request.tenant, request.validation_file, "validation_file")
        if validation.form is not training.form:
            raise InvalidRequest(
                f"validation_file holds {validation.form} examples, and training_file {training.form} ones.",
                param="validation_file",
            )

    def _require_room(self, tenant: str) -> None:
        most = self._settings.max_open_jobs
        if sum(job.request.tenant == tenant for job in self._jobs.open()) >= most:
            raise TooManyJobs(f"{most} jobs have not ended yet, which is all there may be; cancel one or wait.")

    def _require_free(self, name: str) -> None:
        is_taken = self._catalog().find(name) is not None or any(job.name == name for job in self._jobs.open())
        if is_taken:
            raise ModelExists(
                f"A model named {name} exists, or a job will make it; take another suffix.", param="suffix"
            )

    async def jobs(self, tenant: str) -> list[Job]:
        return [job for job in self._jobs.all() if job.request.tenant == tenant]

    async def job(self, tenant: str, id: str) -> Job:
        return self._jobs.find(tenant, id)

    async def events(self, tenant: str, id: str, after: int = 0) -> tuple[Job, list[JobEvent]]:
        """The job, and what has happened to it since an event of this number, oldest first."""
        return self._jobs.find(tenant, id), self._jobs.events(id, after)

    async def curves(self) -> list[Curve]:
        """Open jobs and those that have ended lately, of all tenants, newest first, each with the curve of its loss."""
        now_s = self._clock()
        shown = [job for job in self._jobs.all() if job.finished_s is None or now_s - job.finished_s < RECENT_S]
        return [Curve(job, curve_of(self._jobs.events(job.id))) for job in shown[: -MAX_CURVES - 1 : -1]]

    async def cancel(self, tenant: str, id: str) -> Job:
        return await self._order(tenant, id, job_steps.cancelled)

    async def pause(self, tenant: str, id: str) -> Job:
        return await self._order(tenant, id, job_steps.paused)

    async def resume(self, tenant: str, id: str) -> Job:
        return await self._order(tenant, id, job_steps.resumed)

    async def _order(self, tenant: str, id: str, step: Callable[[Job, float], job_steps.Step | None]) -> Job:
        self._jobs.find(tenant, id)
        now_s = self._clock()
        job = await self._jobs.change(id, lambda job: step(job, now_s))
        self._runner.has_news.set()
        return job
