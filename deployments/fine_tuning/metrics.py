"""What is counted of fine-tuning; labels are a job's status alone."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from catalog.fine_tuning import JobStatus
from catalog.jobs import Job
from deployments.metric_families import Snapshot, snapshot


class TuningMetrics:
    """Jobs, steps and tokens since this manager runs."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._jobs = Gauge(
            "fine_tuning_jobs", "Fine-tuning jobs that are known, by status.", ("status",), registry=self._registry
        )
        self._steps = Counter("fine_tuning_steps", "Steps of training that jobs have taken.", registry=self._registry)
        self._tokens = Counter(
            "fine_tuning_trained_tokens", "Tokens that finished trainings have learned from.", registry=self._registry
        )
        self._rate = Gauge(
            "fine_tuning_tokens_per_second", "Tokens per second of all trainings that run.", registry=self._registry
        )

    def note(self, before: Job, after: Job) -> None:
        """Count what a training has told."""
        self._steps.inc(max(0, after.step - before.step))
        if before.result is None and after.result is not None:
            self._tokens.inc(after.trained_tokens or 0)

    def snapshot(self, jobs: Iterable[Job]) -> Snapshot:
        """What was counted, and how these jobs stand."""
        known = list(jobs)
        num = Count(job.status for job in known)
        for status in JobStatus:
            self._jobs.labels(str(status)).set(num[status])
        self._rate.set(sum(job.tokens_per_second or 0.0 for job in known))
        return snapshot(self._registry)
