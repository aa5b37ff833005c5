"""What becomes of a job's result: entries of the catalog, and webhooks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from catalog.jobs import Checkpoint, Job
from catalog.names import parse_name
from catalog.webhooks import NoticeType
from deployments.manager.outbox import Outgoing

# Beside the result; those before them stay where they are, without a name.
MAX_SERVED_CHECKPOINTS = 10
FINAL = "final"


class ServedEntry(NamedTuple):
    """A model to be registered. `fields` are those that its entry in the configuration would have."""

    name: str
    fields: dict[str, Any]


def model_name(base: str, stem: str, weights: str) -> str:
    """What the result of a job is called; `stem` is its suffix, or its id."""
    return f"rl:{base}:{stem}" if weights == "full" else f"peft:{base}:{stem}"


def checkpoint_name(job: Job, step: int) -> str:
    """What a checkpoint of a job is called."""
    return f"{job.name}:step-{step}" if _is_full(job) else f"{job.name}-step-{step}"


def entries(job: Job, checkpoints: tuple[Checkpoint, ...], folder: str) -> Iterator[ServedEntry]:
    """The checkpoints, oldest first, and last the result.

    Of full weights each is a checkpoint, and the job's name without one leads to that which was registered last.
    """
    for made in checkpoints[-MAX_SERVED_CHECKPOINTS:]:
        yield _entry(job, made.name, made.folder)
    yield _entry(job, f"{job.name}:{FINAL}" if _is_full(job) else job.name, folder)


def _entry(job: Job, name: str, folder: str) -> ServedEntry:
    fields: dict[str, Any] = {"name": name, "source": folder}
    return ServedEntry(name, {**fields, "kind": "full"} if _is_full(job) else fields)


def _is_full(job: Job) -> bool:
    return parse_name(job.name).kind == "rl"


def told(job: Job, now_s: float) -> list[Outgoing]:
    """The webhooks of a job that has ended; none where its owner has ended it."""
    about = {"job_id": job.id, "base_model": job.request.model}
    if job.fine_tuned_model is not None:
        succeeded = {**about, "model": job.fine_tuned_model}
        return [
            _outgoing(NoticeType.JOB_SUCCEEDED, succeeded, now_s),
            _outgoing(NoticeType.READY, {"model": job.fine_tuned_model, "gpu": job.shape or ""}, now_s),
        ]
    if job.error_code:
        return [_outgoing(NoticeType.JOB_FAILED, {**about, "code": job.error_code, "reason": job.error}, now_s)]
    return []


def _outgoing(type: NoticeType, data: dict[str, str], now_s: float) -> Outgoing:
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Outgoing(
        id=f"msg_{uuid.uuid4().hex}",
        type=type,
        body=json.dumps({"type": type, "timestamp": at, "data": data}),
    )
