"""The gateway's line to the part of the manager that owns fine-tuning files and jobs."""

from __future__ import annotations

from typing import Any

from catalog.errors import PermissionDenied
from catalog.fine_tuning import FineTuningSettings
from deployments.gateway.fleet import Fleet

OFF = (
    "This service takes no fine-tuning jobs: its operator must set `fine_tuning: {}` in the ModelManager's user_config."
)


class TuningLine:
    """Asks the manager. Raises PermissionDenied where fine-tuning is off."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @property
    def settings(self) -> FineTuningSettings:
        settings = self._fleet.catalog.settings.fine_tuning
        if settings is None:
            raise PermissionDenied(OFF)
        return settings

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """What a verb of `deployments.fine_tuning.facade.FineTuning` returns. Raises its errors."""
        _ = self.settings
        return await self._fleet.ask(self._fleet.manager.fine_tuning.remote(verb, *arguments))
