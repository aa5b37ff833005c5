"""The gateway's line to the part of the manager that owns fine-tuning files and jobs."""

from __future__ import annotations

import time
from typing import Any

from catalog.errors import PermissionDenied
from catalog.fine_tuning import FineTuningSettings
from catalog.jobs import Job
from deployments.gateway.fleet import Fleet

OFF = (
    "This service takes no fine-tuning jobs: its operator must set `fine_tuning: {}` in the ModelManager's user_config."
)

# A model that is missing longer than this was removed.
NEW_S = 10.0


class TuningLine:
    """Asks the manager. Raises PermissionDenied where fine-tuning is off."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def require_settings(self) -> FineTuningSettings:
        """What the operator has set of it."""
        settings = self._fleet.catalog.settings.fine_tuning
        if settings is None:
            raise PermissionDenied(OFF)
        return settings

    async def job(self, tenant: str, id: str) -> Job:
        """A tenant's job. Who reads that it has succeeded may call its model: this gateway knows of it by then."""
        job: Job = await self.ask("job", tenant, id)
        await self.see(job)
        return job

    async def see(self, job: Job) -> None:
        """Wait until this gateway knows of the model that a job has just made."""
        name = job.fine_tuned_model
        if name is not None and job.finished_s is not None and time.time() - job.finished_s < NEW_S:
            await self._fleet.until(lambda: self._fleet.catalog.find(name) is not None)

    async def ask(self, verb: str, *arguments: Any) -> Any:
        """What a verb of `deployments.fine_tuning.facade.FineTuning` returns. Raises its errors."""
        self.require_settings()
        return await self._fleet.ask(self._fleet.manager.fine_tuning.remote(verb, *arguments))
