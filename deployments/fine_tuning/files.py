"""The files of examples that tenants have uploaded, as the manager knows them.

A file is known before its bytes are stored and until they are deleted, so bytes that a killed gateway or manager has
left behind are found. Only one that is kept is shown.
"""

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
SWEEP_INTERVAL_S = 60.0
# Storing a file takes less.
STORING_S = 3_600.0


class TrainingFiles:
    """Owns them. `in_use` tells the ids of the files that jobs need."""

    def __init__(self, store: Store, in_use: Callable[[], Iterable[str]], clock: Callable[[], float]) -> None:
        self._store = store
        self._in_use = in_use
        self._clock = clock
        self._files: dict[str, TrainingFile] = {}
        self._background = Background()

    async def restore(self) -> None:
        """Take over what the store holds."""
        records = await self._store.read(Kind.FILE)
        self._files = {id: TrainingFile.from_record(record) for id, record in records.items()}

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def sweep(self) -> None:
        """Delete what is left of files that are not kept."""
        for file in list(self._files.values()):
            if not file.is_kept and self._clock() - file.created_s > STORING_S:
                await self._discard(file)

    async def expect(self, file: TrainingFile) -> None:
        """Know a file whose bytes are about to be stored. Raises TooManyJobs or StoreUnavailable."""
        if len(self.of(file.tenant)) >= MAX_FILES:
            raise TooManyJobs(f"There are {MAX_FILES} files already; DELETE those that no job needs.", param="file")
        await self._put(replace(file, is_kept=False))

    async def keep(self, tenant: str, id: str) -> TrainingFile:
        """Keep a file whose bytes are stored. Raises TrainingFileNotFound or StoreUnavailable."""
        return await self._put(replace(self._known(tenant, id), is_kept=True))

    def of(self, tenant: str) -> list[TrainingFile]:
        """A tenant's files."""
        return [file for file in self._files.values() if file.tenant == tenant and file.is_kept]

    def find(self, tenant: str, id: str, param: str = "id") -> TrainingFile:
        """A tenant's file. Raises TrainingFileNotFound, for that of another tenant too."""
        file = self._known(tenant, id, param)
        if not file.is_kept:
            raise _not_found(param)
        return file

    async def delete(self, tenant: str, id: str) -> None:
        """Keep a file no longer, and delete it. Raises TrainingFileNotFound, FileInUse or StoreUnavailable."""
        file = self._known(tenant, id)
        if id in self._in_use():
            raise FileInUse("A fine-tuning job needs this file: wait for its end, or cancel it.", param="id")
        self._background.start(self._discard(await self._put(replace(file, is_kept=False))))

    def _known(self, tenant: str, id: str, param: str = "id") -> TrainingFile:
        file = self._files.get(id)
        if file is None or file.tenant != tenant:
            raise _not_found(param)
        return file

    async def _put(self, file: TrainingFile) -> TrainingFile:
        await self._store.put(Kind.FILE, file.id, asdict(file))
        self._files[file.id] = file
        return file

    async def _discard(self, file: TrainingFile) -> None:
        """Delete the bytes and forget the file; what cannot be done now, `run` tries again."""
        try:
            await asyncio.to_thread(delete, file.location)
            await self._store.delete(Kind.FILE, file.id)
        except Exception as error:
            # Whatever a file system raises: the next ones must not wait for this one.
            logger.error("a file of examples could not be deleted: %s", type(error).__name__)
        else:
            self._files.pop(file.id, None)


def _not_found(param: str) -> TrainingFileNotFound:
    return TrainingFileNotFound("No file has this id. See GET /v1/files.", param=param)
