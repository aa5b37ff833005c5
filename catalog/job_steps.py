"""What happens to a fine-tuning job, one function for each thing that does: the job before, and the job after.

They are functions of values; `deployments/fine_tuning` writes down what they return. Each raises JobStateConflict where
`catalog.fine_tuning.TRANSITIONS` has no such step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from catalog.errors import JobStateConflict
from catalog.fine_tuning import JobStatus, Report, ReportKind
from catalog.jobs import Checkpoint, Job, Wish

# One that has yielded leaves its GPUs to the model that it has yielded to.
YIELD_S = 30.0
MAX_REASON_CHARS = 500
MAX_CHECKPOINTS = 200
MAX_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class Note:
    """What the owner of a job is told of it."""

    message: str
    level: str = "info"
    type: str = "message"
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A job as it is from now on, and what is told of that."""

    job: Job
    notes: tuple[Note, ...] = ()


def _step(job: Job, *notes: str) -> Step:
    return Step(job, tuple(map(Note, notes)))


def validated(job: Job, max_tokens: int) -> Step:
    """Its files are whole and fit the model."""
    return _step(job.moved(JobStatus.QUEUED, max_tokens=max_tokens), "The files are validated; the job is queued.")


def failed(job: Job, now_s: float, code: str, reason: str, param: str | None = None) -> Step:
    """It ends, for this reason."""
    reason = reason[:MAX_REASON_CHARS]
    after = job.moved(
        JobStatus.FAILED, finished_s=now_s, wish=Wish.NONE, waits_for="", error_code=code, error=reason,
        error_param=param,
    )  # fmt: skip
    return Step(after, (Note(f"The job has failed: {reason}", "error"),))


def waiting(job: Job, why: str) -> Step | None:
    """It still has no place; None when that was said already."""
    return None if job.waits_for == why else _step(replace(job, waits_for=why), why)


def started(job: Job, shape: str, now_s: float) -> Step:
    """A training of it is about to be started on a shape."""
    after = job.moved(
        JobStatus.RUNNING, has_training=True, num_heard=0, num_starts=job.num_starts + 1, wish=Wish.NONE,
        waits_for="", shape=shape, started_s=job.started_s or now_s,
    )  # fmt: skip
    return _step(after, f"The training starts on {shape}.")


def training_ended(job: Job) -> Step:
    """No training of it exists any more."""
    return Step(replace(job, has_training=False, tokens_per_second=None))


def lost(job: Job, now_s: float, max_failures: int) -> Step:
    """Its training is gone without a word, with its process or its node."""
    job = replace(job, num_failures=job.num_failures + 1, has_training=False, tokens_per_second=None)
    if job.num_failures > max_failures:
        return failed(job, now_s, "training_lost", f"The training was lost {job.num_failures} times.")
    step = _put_away(job, now_s)
    return Step(step.job, (Note("The training was lost; it goes on from its last checkpoint.", "warn"), *step.notes))


def cancelled(job: Job, now_s: float) -> Step:
    """Its owner has ended it."""
    if job.status.has_ended:
        raise JobStateConflict(f"The job is {job.status} already; there is nothing to cancel.", param="id")
    if job.result is not None:
        # It may be in the catalog by now.
        raise JobStateConflict("The training has finished, and its result is put into the catalog.", param="id")
    after = job.moved(JobStatus.CANCELLED, finished_s=now_s, wish=Wish.NONE, waits_for="")
    return _step(after, "The job is cancelled.")


def paused(job: Job, now_s: float) -> Step | None:
    """Its owner wants it to rest. One that runs is asked to save all first; None where nothing changes."""
    if job.status is JobStatus.PAUSED or job.wish is Wish.PAUSE:
        return None
    if job.status is JobStatus.QUEUED:
        return _step(job.moved(JobStatus.PAUSED, waits_for=""), "The job is paused.")
    return _wished(job, Wish.PAUSE, now_s, "The training pauses as soon as it has saved a checkpoint.")


def resumed(job: Job, now_s: float) -> Step | None:
    """Its owner wants it to go on; None where nothing changes."""
    if job.status is JobStatus.PAUSED:
        return _step(job.moved(JobStatus.QUEUED, queued_s=now_s), "The job is queued again.")
    if job.wish is Wish.PAUSE:
        # It has been told to save and stop, so it waits for its place again.
        return _wished(job, Wish.QUEUE, now_s, "The job will be queued again.")
    if job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        return None
    raise JobStateConflict(f"The job is {job.status}; only one that is paused is resumed.", param="id")


def asked_to_yield(job: Job, now_s: float) -> Step | None:
    """A model needs its place; None where it gives that back already."""
    if job.wish is not Wish.NONE:
        return None
    return _wished(job, Wish.QUEUE, now_s, "The training gives its place to inference, at a checkpoint.")


def _wished(job: Job, wish: Wish, now_s: float, message: str) -> Step:
    if job.status is not JobStatus.RUNNING or job.result is not None:
        state = "about to succeed" if job.result is not None else str(job.status)
        raise JobStateConflict(f"The job is {state}; only one that is queued or running is paused.", param="id")
    return _step(replace(job, wish=wish, wished_s=job.wished_s if job.wish is not Wish.NONE else now_s), message)


def put_away(job: Job, now_s: float) -> Step:
    """Its training has paused, or takes too long to: it rests or waits, as was wished."""
    return _put_away(job, now_s)


def _put_away(job: Job, now_s: float) -> Step:
    if job.wish is Wish.PAUSE:
        return _step(job.moved(JobStatus.PAUSED, wish=Wish.NONE, tokens_per_second=None), "The job is paused.")
    not_before_s = now_s + YIELD_S if job.wish is Wish.QUEUE else 0.0
    after = job.moved(JobStatus.QUEUED, wish=Wish.NONE, not_before_s=not_before_s, tokens_per_second=None)
    return _step(after, "The job waits for its place again.")


def registered(job: Job, now_s: float, name: str, left_out: tuple[str, ...] = ()) -> Step:
    """Its result is in the catalog."""
    after = job.moved(
        JobStatus.SUCCEEDED, finished_s=now_s, fine_tuned_model=name, wish=Wish.NONE, tokens_per_second=None,
        checkpoints=tuple(each for each in job.checkpoints if each.name not in left_out),
    )  # fmt: skip
    return _step(after, f"The job has succeeded: the new model is {name}.")


def reported(job: Job, report: Report, checkpoint_name: str, now_s: float) -> Step:
    """Its training says something; `checkpoint_name` is what a checkpoint of the report's step will be called."""
    report = replace(report, data=_finite(report.data))
    data, job = report.data, replace(job, num_heard=report.number)
    match report.kind:
        case ReportKind.STARTED:
            job = replace(job, num_steps=data.get("num_steps"))
            resumed = data.get("resumed_from_step")
            words = f"Training goes on from step {resumed}." if resumed else "Training has begun."
            return Step(job, (Note(words, data=data),))
        case ReportKind.METRICS:
            job = replace(
                job, step=data.get("step", job.step), num_steps=data.get("num_steps", job.num_steps),
                loss=data.get("loss"), tokens_per_second=data.get("tokens_per_second"),
            )  # fmt: skip
            return Step(
                job, (Note(f"Step {job.step}/{job.num_steps}: loss {_loss(job.loss)}", "info", "metrics", data),)
            )
        case ReportKind.EVALUATION:
            words = f"Validation at step {data.get('step')}: loss {_loss(data.get('loss'))}"
            told = {"step": data.get("step"), "validation_loss": data.get("loss")}
            return Step(job, (Note(words, "info", "metrics", told),))
        case ReportKind.CHECKPOINT:
            return _with_checkpoint(job, report, checkpoint_name)
        case ReportKind.SAMPLES:
            return _step(
                replace(job, samples=tuple(data.get("samples", ())[:MAX_SAMPLES])), "Sample answers are there."
            )
        case ReportKind.RESTARTED:
            reason = str(data.get("reason", ""))[:MAX_REASON_CHARS]
            return Step(job, (Note(f"Training goes on from its last checkpoint: {reason}", "warn"),))
        case ReportKind.PAUSED:
            return put_away(job, now_s)
        case ReportKind.FINISHED:
            job = replace(
                job, result=data, trained_tokens=data.get("trained_tokens"), loss=data.get("loss", job.loss),
                step=data.get("num_steps", job.step), tokens_per_second=None,
            )  # fmt: skip
            return _step(job, "Training has finished; its result is put into the catalog.")
        case ReportKind.FAILED:
            return failed(job, now_s, "training_failed", str(data.get("reason") or "The training has failed."))


def _with_checkpoint(job: Job, report: Report, name: str) -> Step:
    data = report.data
    made = Checkpoint(
        step=data["step"], at_s=report.at_s, folder=data["folder"], name=name, loss=data.get("loss"),
        validation_loss=data.get("validation_loss"),
    )  # fmt: skip
    # A training that goes on from an earlier checkpoint makes later ones anew.
    others = [each for each in job.checkpoints if each.step != made.step]
    checkpoints = tuple(sorted([*others, made], key=lambda each: each.step))[-MAX_CHECKPOINTS:]
    told = {name: value for name, value in data.items() if name != "folder"}
    note = Note(f"Checkpoint of step {made.step} is saved.", data=told)
    return Step(replace(job, checkpoints=checkpoints), (note,))


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """A report's values with None for those that JSON has no word for, as the loss of a training that has diverged."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in data.items()
    }


def _loss(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
