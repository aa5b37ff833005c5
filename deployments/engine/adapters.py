"""The LoRA adapters of one replica: loaded on demand by Serve's multiplexing, never taken from a running request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from ray import serve

from catalog.catalog import AdapterSpec
from catalog.errors import AdapterRejected, ModelFailed
from catalog.models import AdapterPool
from catalog.remote import is_remote
from catalog.sources import SourceNotFound, SourceUnavailable
from deployments.engine.adapter_files import BadAdapter, check_adapter
from deployments.engine.base import Engine
from deployments.sources.bring import MAX_ADAPTER_BYTES, Sources
from deployments.sources.cache import Held

logger = logging.getLogger("ray.serve")


class LoadedAdapter:
    """An adapter in the engine. Serve awaits its `__del__` when it evicts it; that waits until nobody uses it."""

    def __init__(self, spec: AdapterSpec, files: Held, engine: Engine, shelf: dict[str, LoadedAdapter]) -> None:
        self.spec = spec
        self._files = files
        self._engine = engine
        self._shelf = shelf
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        # Of the object, where Serve finds it, and not of the class, where Python would call it and await nothing.
        self.__del__ = self._leave

    def acquire(self) -> None:
        self._users += 1
        self._unused.clear()

    def release(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._unused.set()

    @property
    def is_busy(self) -> bool:
        return self._users > 0

    async def _leave(self) -> None:
        self._shelf.pop(self.spec.name, None)
        await self._unused.wait()
        try:
            await self._engine.unload_adapter(self.spec.names)
        finally:
            self._files.release()


class AdapterShelf:
    """Adapters held by this replica, least recently used out. `names` are the canonical names of those loaded."""

    def __init__(self, engine: Engine, pool: AdapterPool, base_source: str, sources: Sources) -> None:
        self._engine = engine
        self._sources = sources
        self._pool = pool
        self._base_source = base_source
        self._base: Held | None = None
        self._specs: dict[str, AdapterSpec] = {}
        self._held: dict[str, LoadedAdapter] = {}
        # Serve keeps the least-recently-used order and tells its routers which replica holds what.
        held_by_serve = serve.multiplexed(max_num_models_per_replica=pool.max_adapters_per_replica)(self._loader())
        self._get = cast("Callable[[str], Awaitable[LoadedAdapter]]", held_by_serve)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._held)

    @property
    def busy_names(self) -> tuple[str, ...]:
        return tuple(name for name, adapter in self._held.items() if adapter.is_busy)

    @asynccontextmanager
    async def lease(self, spec: AdapterSpec) -> AsyncIterator[None]:
        """Hold the adapter in the engine while the block runs; loads it first if need be.

        Raises AdapterRejected when its files do not fit the model, ModelFailed when they cannot be had just now.
        """
        adapter = await self._ensure(spec)
        adapter.acquire()
        try:
            yield
        finally:
            adapter.release()

    async def _ensure(self, spec: AdapterSpec) -> LoadedAdapter:
        self._specs[spec.name] = spec
        if spec.name in self._held:
            return await self._get(spec.name)
        # Serve loads one adapter after the other; a download, which may take long, does not keep others waiting.
        files = await self._bring(spec) if is_remote(spec.source) else None
        try:
            # Mark the busy ones as recently used, so that an idle one is evicted where there is one.
            for name, adapter in list(self._held.items()):
                if adapter.is_busy:
                    await self._get(name)
            return await self._get(spec.name)
        finally:
            if files is not None:
                files.release()

    def _loader(self):
        async def load_adapter(name: str) -> LoadedAdapter:
            spec = self._specs[name]
            files = await self._bring(spec)
            adapter = LoadedAdapter(spec, files, self._engine, self._held)
            try:
                await self._check(spec, files.location)
                await self._engine.load_adapter(spec.names, files.location)
            except BaseException as error:
                files.release()
                # What an engine says that has died is no judgement on the adapter.
                if isinstance(error, ValueError) and self._engine.is_alive():
                    reason = f"The engine refused the adapter {spec.name}: {error}"
                    raise AdapterRejected(reason, param="model") from None
                raise
            self._held[name] = adapter
            logger.info("adapter loaded: %s", name)
            return adapter

        return load_adapter

    async def _bring(self, spec: AdapterSpec) -> Held:
        try:
            return await self._sources.bring(spec.source, MAX_ADAPTER_BYTES)
        except SourceUnavailable as error:
            raise ModelFailed(f"The adapter {spec.name} cannot be fetched: {error}.", retry_after_s=10) from None
        except SourceNotFound as error:
            raise _rejected(spec, error.for_callers) from None

    async def _check(self, spec: AdapterSpec, path: str) -> None:
        if self._base is None:
            # Its files are here already, for the engine has them.
            self._base = await self._sources.bring(self._base_source)
        try:
            await asyncio.to_thread(check_adapter, path, self._base.location, self._pool.max_rank)
        except BadAdapter as error:
            raise _rejected(spec, str(error)) from None


def _rejected(spec: AdapterSpec, reason: str) -> AdapterRejected:
    return AdapterRejected(f"The adapter {spec.name} cannot be served: {reason}.", param="model")
