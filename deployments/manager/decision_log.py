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

    def is_due(self, num_replicas: int, now_s: float) -> bool:
        """Whether to read it: when the number of replicas has changed, and while there are any, now and then."""
        return num_replicas != self._num_when_read or (num_replicas > 0 and now_s - self._read_s > INTERVAL_S)

    async def read(self, app_name: str, num_replicas: int, now_s: float) -> bool:
        """Read it. Returns whether there was something new."""
        self._num_when_read, self._read_s = num_replicas, now_s
        before, self.entries = self.entries, await self._control.decisions(app_name)
        return self.entries != before

    async def forget(self, app_name: str) -> None:
        """Leave nothing of it in the cluster's store."""
        await self._control.forget_decisions(app_name)
