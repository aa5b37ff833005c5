"""What the workers of a training say to its supervisor."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group

from catalog.fine_tuning import ReportKind
from deployments.fine_tuning.supervisor import find_supervisor


class Voice:
    """Speaks to the supervisor; but for a failure only the first worker does."""

    def __init__(self, job_id: str) -> None:
        # Only where it is at home: it imports what only workers have.
        from ray.train import get_context

        self.is_first = get_context().get_world_rank() == 0
        self._supervisor: Any = find_supervisor(job_id)

    def begin(self) -> None:
        """The workers run."""
        self._call("begin", get_current_placement_group())

    def take(self, kind: ReportKind, data: dict[str, Any]) -> None:
        """Say something on the way."""
        self._call("take", kind, data)

    def end(self, kind: ReportKind, data: dict[str, Any]) -> None:
        """Say what became of the training."""
        self._call("end", kind, data)

    def fail(self, reason: str) -> None:
        """Say why it cannot go on, whichever worker this is."""
        if self._supervisor is not None:
            ray.get(self._supervisor.end.remote(ReportKind.FAILED, {"reason": reason}))

    def should_pause(self) -> bool:
        """Whether the manager wants the training to pause."""
        return bool(self._call("is_pausing"))

    def _call(self, method: str, *arguments: Any) -> Any:
        # A supervisor that is gone takes its workers with it; until then there is nobody to speak to.
        if self.is_first and self._supervisor is not None:
            return ray.get(getattr(self._supervisor, method).remote(*arguments))
        return None
