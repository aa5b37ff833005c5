"""Jobs, their events and checkpoints as objects of OpenAI's API, with raymux's fields beside them."""

from __future__ import annotations

from typing import Any

from catalog.fine_tuning import Method
from catalog.jobs import Checkpoint, Job, JobEvent

_ORGANIZATION = "raymux"
_OPENAI = ("n_epochs", "batch_size", "learning_rate_multiplier")


def shown(job: Job) -> dict[str, Any]:
    """The job; what raymux alone has to say of it is under `raymux`."""
    request = job.request
    used = request.hyperparameters.model_dump(mode="json")
    if request.method is Method.SUPERVISED:
        del used["beta"]
    result = job.result or {}
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_s),
        "finished_at": _time(job.finished_s),
        # How long a job waits for its place is not known.
        "estimated_finish": None,
        "model": request.model,
        "fine_tuned_model": job.fine_tuned_model,
        "organization_id": _ORGANIZATION,
        "status": str(job.status),
        "error": {"code": job.error_code, "message": job.error, "param": job.error_param} if job.error_code else None,
        "hyperparameters": {name: used[name] for name in _OPENAI},
        "method": {"type": str(request.method), str(request.method): {"hyperparameters": used}},
        "training_file": request.training_file,
        "validation_file": request.validation_file,
        "result_files": [],
        "trained_tokens": job.trained_tokens,
        "seed": request.seed,
        "user_provided_suffix": request.suffix,
        "metadata": request.metadata,
        "integrations": [],
        "raymux": {
            "gpu": job.shape,
            "gpu_preference": [key.rpartition("@")[2] for key in request.variants],
            "waits_for": job.waits_for or None,
            "wish": str(job.wish) or None,
            "started_at": _time(job.started_s),
            "step": job.step,
            "num_steps": job.num_steps,
            "loss": job.loss,
            "tokens_per_second": job.tokens_per_second,
            "num_starts": job.num_starts,
            "num_failures": job.num_failures,
            "validation_loss": result.get("validation_loss"),
            "validation_loss_before": result.get("validation_loss_before"),
            "samples": list(job.samples),
        },
    }


def shown_event(job: Job, event: JobEvent) -> dict[str, Any]:
    """One event of a job."""
    return {
        "id": event_id(job, event.number),
        "object": "fine_tuning.job.event",
        "created_at": int(event.at_s),
        "level": event.level,
        "type": event.type,
        "message": event.message,
        "data": event.data,
    }


def event_id(job: Job, number: int) -> str:
    """The id of a job's event; numbers count from 1."""
    return f"ftevent-{job.id.removeprefix('ftjob-')}-{number}"


def shown_checkpoint(job: Job, made: Checkpoint) -> dict[str, Any]:
    """One checkpoint of a job. Its name can be used once the job has succeeded."""
    metrics = {"step": made.step, "train_loss": made.loss, "full_valid_loss": made.validation_loss}
    return {
        "id": f"ftckpt-{job.id.removeprefix('ftjob-')}-{made.step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(made.at_s),
        "fine_tuned_model_checkpoint": made.name,
        "fine_tuning_job_id": job.id,
        "step_number": made.step,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


def _time(at_s: float | None) -> int | None:
    return None if at_s is None else int(at_s)
