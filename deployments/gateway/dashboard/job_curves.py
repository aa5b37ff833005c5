"""Fine-tuning jobs for the board: how far each is, and the curve of its loss."""

from __future__ import annotations

from typing import Any

from catalog.jobs import Curve, Job
from deployments.gateway.tuning_line import TuningLine


async def job_curves(line: TuningLine) -> list[tuple[Job, dict[str, Any]]]:
    """The jobs that are worth a look, of all tenants, each with what the board shows of it. Raises RaymuxError."""
    curves: list[Curve] = await line.ask("curves")
    return [(job, _shown(job, points)) for job, points in curves]


def _shown(job: Job, points: tuple[tuple[int, float | None, float | None], ...]) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "model": job.request.model,
        "status": str(job.status),
        "created_at_s": round(job.created_s, 3),
        "started_at_s": job.started_s,
        "finished_at_s": job.finished_s,
        "gpu": job.shape,
        "step": job.step,
        "num_steps": job.num_steps,
        "tokens_per_second": job.tokens_per_second,
        "waits_for": job.waits_for or None,
        "error": job.error or None,
        "curve": [list(point) for point in points],
    }
