"""What a training is told of its job."""

from __future__ import annotations

from collections.abc import Sequence

from autoscaling.placement import Workers
from catalog.catalog import VariantSpec
from catalog.fine_tuning import FineTuningSettings, TrainingPlan
from catalog.jobs import Job, TrainingFile


def plan_of(
    job: Job, spec: VariantSpec, workers: Workers, files: Sequence[TrainingFile], settings: FineTuningSettings
) -> TrainingPlan:
    """The plan of a job on a place. `files` are the training file and, if there is one, that for validation."""
    request = job.request
    return TrainingPlan(
        job_id=job.id,
        method=request.method,
        model=spec.source,
        source_cache=spec.source_cache,
        training_file=files[0].location,
        validation_file=files[1].location if len(files) > 1 else None,
        folder=job.folder,
        hyperparameters=request.hyperparameters,
        seed=request.seed,
        max_tokens=job.max_tokens,
        num_workers=workers.count,
        worker_resources=dict(workers.resources),
        strategy=workers.strategy,
        max_failures=settings.max_failures,
    )
