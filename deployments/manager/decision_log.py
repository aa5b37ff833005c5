"""Why Serve changed a variant's number of replicas, read from where our policy notes it (`deployments.decisions`)."""

from __future__ import annotations

from catalog.replicas import ScalingDecision
from deployments.manager.serve_control import ServeControl

INTERVAL_S = 10.0


class DecisionLog:
    """The last decisions on one application, oldest first."""

    def __init__(self, control: ServeControl) -> None:
        self._control = control
        self._read_s = 0.0
        self._num_when_read = 0
        self.entries: tuple[ScalingDecision, ...] = ()

    async def read(self, app_name: str, num_replicas: int, now_s: float) -> bool:
        """Read it when the number of replicas has changed, and while there are any, now and then.

        Returns whether there was something new.
        """
        is_due = now_s - self._read_s > INTERVAL_S
        if num_replicas == self._num_when_read and not (num_replicas and is_due):
            return False
        self._num_when_read, self._read_s = num_replicas, now_s
        before, self.entries = self.entries, await self._control.decisions(app_name)
        return self.entries != before

    async def forget(self, app_name: str) -> None:
        """Leave nothing of it in the cluster's store."""
        await self._control.forget_decisions(app_name)
