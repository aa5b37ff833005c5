"""Brings a source's files to this node, from wherever they are: the one door of the engines and the manager."""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from catalog.project import PROJECT
from catalog.remote import ARCHIVES, RemoteSource, is_remote, parse_remote
from catalog.source_cache import SourceCacheSettings
from catalog.sources import SourceRefused, locate
from deployments.sources import hub
from deployments.sources.cache import Expect, Held, SourceCache, require_servable

# Adapters are small; what says it is one and is larger would only fill the disk.
MAX_ADAPTER_BYTES = 16 * 2**30
# A fetch takes long, and asyncio's few threads have other work.
_FETCHERS = ThreadPoolExecutor(8, thread_name_prefix="fetch-source")


class Sources:
    """Brings sources, with this process's environment as it is now."""

    def __init__(self, settings: SourceCacheSettings) -> None:
        self._max_bytes = settings.max_bytes
        self._cache = SourceCache(PROJECT / settings.folder, settings.max_bytes)
        self._environment = dict(os.environ)

    async def bring(self, source: str, most_bytes: int | None = None) -> Held:
        """`bring_now` in a thread."""
        call = functools.partial(self.bring_now, source, most_bytes)
        return await asyncio.get_running_loop().run_in_executor(_FETCHERS, call)

    def bring_now(self, source: str, most_bytes: int | None = None) -> Held:
        """Where the source's files are on this node, fetched if need be and checked; a bare hub id as it is.

        Blocks. Raises SourceNotFound, of a remote source one of the FetchErrors.
        """
        if not is_remote(source):
            return Held(locate(source))
        try:
            remote = parse_remote(source)
        except ValueError as error:
            raise SourceRefused(f"its source is not written as one: {error}") from None
        most_bytes = self._max_bytes if most_bytes is None else most_bytes
        if remote.scheme == "hf":
            location = hub.download(remote, most_bytes, self._environment)
            require_servable(Path(location))
            return Held(location)
        return self._cache.hold(source, functools.partial(_fetch, source, remote, most_bytes), most_bytes)


def _fetch(source: str, remote: RemoteSource, most_bytes: int, folder: Path, expect: Expect) -> None:
    # Where it is wanted: what each brings along takes a tenth of a second to import, in processes that are waited for.
    if remote.scheme in ("s3", "gs"):
        from deployments.sources import buckets

        buckets.download(remote, folder, expect)
        return
    from deployments.sources import archives, web

    # A hidden name: nothing of an archive has one.
    archive = folder / f".archive{next(suffix for suffix in ARCHIVES if source.endswith(suffix))}"
    web.download(source, archive, expect, most_bytes)
    archives.unpack(archive, folder, expect, most_bytes)
    archive.unlink()
