"""Fine-tuning jobs: what an operator may set, what a job is asked to do, and what its training says on the way.

A job's states, by OpenAI's names:

    from                 to          when
    validating_files     queued      the files are whole and fit the model
    validating_files     failed      they do not
    queued               running     its training has its place in the cluster
    running              queued      it has yielded to inference, at a checkpoint, and waits for its place again
    queued, running      paused      POST …/pause; from a checkpoint on POST …/resume goes on
    paused               queued      POST …/resume
    running              succeeded   the result is in the catalog
    queued               failed      its model or its file is not there any more
    running              failed      training has failed as often as it may, or its result cannot be served
    any but the ended    cancelled   POST …/cancel
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from catalog.models import Settings
from catalog.source_cache import SourceCacheSettings


class JobStatus(StrEnum):
    """Where a job is; see the module's docstring."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.VALIDATING_FILES: frozenset({JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class Method(StrEnum):
    """How a job learns: from answers, or from which of two answers is preferred."""

    SUPERVISED = "supervised"
    DPO = "dpo"


class FineTuningSettings(Settings):
    """Where files and results are, and how much of the cluster jobs may have."""

    files: str = Field(
        default="run/fine_tuning/files",
        min_length=1,
        max_length=1024,
        description="Where uploaded files are: a folder, relative to the project, or a URL that fsspec knows"
        " (`s3://bucket/folder`). Gateways and every node that trains must reach it.",
    )
    results: str = Field(
        default="run/fine_tuning/jobs",
        min_length=1,
        max_length=1024,
        description="Folder, relative to the project, of checkpoints and results. On a cluster of several nodes it must"
        " lie on storage that all of them share: engines load the results from it.",
    )
    max_file_bytes: int = Field(
        default=512 * 1024**2, ge=1024, le=8 * 1024**3, description="Largest file that may be uploaded, bytes."
    )
    max_examples: int = Field(default=50_000, ge=1, le=10_000_000, description="Most examples that a file may hold.")
    max_active_jobs: int = Field(
        default=1, ge=0, le=1000, description="Jobs that may train at once; others wait in the order they came."
    )
    max_open_jobs: int = Field(
        default=100, ge=1, le=10_000, description="Jobs of one tenant that have not ended; a further one gets 429."
    )
    yields_to_inference: bool = Field(
        default=False,
        description="Whether a job that runs gives its GPUs back, at a checkpoint, when a model that somebody asks for"
        " has no place otherwise. It goes on when there is room again.",
    )
    num_cpus: float = Field(
        default=1.0, gt=0, le=256, description="CPUs that each worker of a job reserves, on a CPU shape its threads."
    )
    max_failures: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Times a job whose worker or node dies goes on from its checkpoint.",
    )


class Hyperparameters(Settings):
    """How a job trains. OpenAI's four, with their meaning there; the others are raymux's own."""

    n_epochs: int = Field(default=3, ge=1, le=100, description="Passes over the training file.")
    batch_size: int = Field(default=8, ge=1, le=1024, description="Examples of one step, over all workers.")
    learning_rate_multiplier: float = Field(
        default=1.0, gt=0, le=1000, description="Of the base rate: 2e-4 for LoRA, 2e-5 for full weights, half for DPO."
    )
    beta: float = Field(default=0.1, gt=0, le=100, description="DPO only: how close to stay to the model before.")
    weights: Literal["lora", "full"] = Field(default="lora", description="What is trained, and comes out.")
    lora_rank: int = Field(default=16, ge=1, le=512, description="Rank of the adapter; its alpha is twice that.")
    checkpoint_every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Steps between checkpoints; without it, one after each epoch."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """Everything that a training needs to know; it is the same each time it is started.

    `model` is the source of the base model, as the configuration has it. The files are paths or URLs that fsspec opens,
    one JSON object a line. In `folder`, which is the job's own, come to be `checkpoints/step-N` and `result`, each
    whole as soon as it is there, in the form that an engine loads (PEFT's, or a whole model with its tokenizer). No
    example is longer than `max_tokens`.
    `num_workers` processes train together, each with `worker_resources` (Ray's names), placed by `strategy`.
    """

    job_id: str
    method: Method
    model: str
    source_cache: SourceCacheSettings = field(default_factory=SourceCacheSettings)
    training_file: str
    validation_file: str | None = None
    folder: str
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    seed: int = 0
    max_tokens: int = 2048
    num_workers: int = 1
    worker_resources: dict[str, float] = field(default_factory=dict)
    strategy: str = "STRICT_PACK"
    max_failures: int = 3


class ReportKind(StrEnum):
    """What a report is about, and what its `data` holds.

    started      num_steps, num_examples, trained_tokens of one epoch, resumed_from_step (0 for none)
    metrics      step, num_steps, epoch, loss, tokens_per_second; for DPO also reward_accuracy and reward_margin
    evaluation   step, loss (of the validation file)
    checkpoint   step, folder, loss, validation_loss (None where none was taken at that step)
    restarted    reason: a worker or its node died, and training goes on from the last checkpoint
    samples      samples: a list of {prompt, before, after}
    paused       step: all is saved, and every resource free
    finished     folder, num_steps, trained_tokens, loss, validation_loss (None), validation_loss_before (None)
    failed       reason, for the owner of the job: no path and no stack trace
    """

    STARTED = "started"
    METRICS = "metrics"
    EVALUATION = "evaluation"
    CHECKPOINT = "checkpoint"
    RESTARTED = "restarted"
    SAMPLES = "samples"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """What a training says. `number` counts from 1 for each start of it; `at_s` is seconds since the epoch."""

    number: int
    at_s: float
    kind: ReportKind
    data: dict[str, Any]
