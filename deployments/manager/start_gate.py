"""Whether a variant may be started now: not while it is stopped by hand, nor too soon after a start that failed."""

from __future__ import annotations

from dataclasses import dataclass

from autoscaling.lifecycle import backoff_s
from catalog.errors import ModelFailed, ModelStopped


@dataclass
class Failure:
    """The last failed start, and how many there were in a row."""

    reason: str
    count: int
    retry_at_s: float


class StartGate:
    """The gate of a model's variant. Times are seconds since the epoch."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.is_stopped = False
        self.failure: Failure | None = None

    def is_blocked(self, now_s: float) -> bool:
        """Whether no start may be tried now."""
        return self.is_stopped or (self.failure is not None and self.failure.retry_at_s > now_s)

    def require_open(self, now_s: float) -> None:
        """Raise ModelStopped or ModelFailed when no start may be tried now."""
        if self.is_stopped:
            raise self.stopped_error()
        if self.is_blocked(now_s):
            raise self.failed_error(now_s)

    def note_failure(self, reason: str, retry_backoff_s: float, now_s: float) -> None:
        """A start has failed: the next one waits, the longer the more have failed in a row."""
        count = self.failure.count + 1 if self.failure else 1
        self.failure = Failure(reason.rstrip("."), count, now_s + backoff_s(count, retry_backoff_s))

    def forget_failure(self) -> None:
        """A start took place, or what failed has changed."""
        self.failure = None

    def stopped_error(self) -> ModelStopped:
        """What who asks for a stopped model is told."""
        return ModelStopped(f"{self._model} was stopped. Start it with POST /v1/models/{self._model}/start.")

    def failed_error(self, now_s: float) -> ModelFailed:
        """What who asks is told after a failure."""
        assert self.failure is not None
        wait_s = max(0.0, self.failure.retry_at_s - now_s)
        return ModelFailed(
            f"{self._model} could not start: {self.failure.reason}. It is tried again after {wait_s:.0f} s.",
            retry_after_s=wait_s,
        )
