"""The files of examples that tenants have uploaded, as the manager knows them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

from catalog.errors import FileInUse, TooManyJobs, TrainingFileNotFound
from catalog.jobs import TrainingFile
from deployments.background import Background
from deployments.fine_tuning.storage import delete
from deployments.manager.store import Kind, Store

logger = logging.getLogger("ray.serve")

MAX_FILES = 1_000


class TrainingFiles:
    """Owns them. `in_use` tells the ids of the files that jobs need."""

    def __init__(self, store: Store, in_use: Callable[[], Iterable[str]]) -> None:
        self._store = store
        self._in_use = in_use
        self._files: dict[str, TrainingFile] = {}
        self._background = Background()

    async def restore(self) -> None:
        """Take over what the store holds."""
        records = await self._store.read(Kind.FILE)
        self._files = {id: TrainingFile.from_record(record) for id, record in records.items()}

    async def add(self, file: TrainingFile, location: str) -> TrainingFile:
        """Know a file that is stored. Raises TooManyJobs or StoreUnavailable."""
        if len(self.of(file.tenant)) >= MAX_FILES:
            raise TooManyJobs(f"There are {MAX_FILES} files already; DELETE those that no job needs.", param="file")
        file = replace(file, location=location)
        await self._store.put(Kind.FILE, file.id, asdict(file))
        self._files[file.id] = file
        return file

    def of(self, tenant: str) -> list[TrainingFile]:
        """A tenant's files."""
        return [file for file in self._files.values() if file.tenant == tenant]

    def find(self, tenant: str, id: str, param: str = "id") -> TrainingFile:
        """A tenant's file. Raises TrainingFileNotFound, for that of another tenant too."""
        file = self._files.get(id)
        if file is None or file.tenant != tenant:
            raise TrainingFileNotFound("No file has this id. See GET /v1/files.", param=param)
        return file

    async def delete(self, tenant: str, id: str) -> None:
        """Forget a file, and delete it. Raises TrainingFileNotFound, FileInUse or StoreUnavailable."""
        file = self.find(tenant, id)
        if id in self._in_use():
            raise FileInUse("A fine-tuning job needs this file: wait for its end, or cancel it.", param="id")
        await self._store.delete(Kind.FILE, id)
        self._files.pop(id, None)
        self._background.start(_delete(file.location))


async def _delete(location: str) -> None:
    try:
        await asyncio.to_thread(delete, location)
    except OSError as error:
        logger.error("a file of examples could not be deleted: %s", type(error).__name__)
