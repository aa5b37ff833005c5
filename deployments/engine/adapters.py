"""The LoRA adapters of one replica: loaded on demand by Serve's multiplexing, never taken from a running request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from ray import serve

from catalog.catalog import AdapterSpec
from catalog.errors import AdapterRejected
from catalog.models import AdapterPool
from catalog.sources import SourceNotFound, locate
from deployments.engine.adapter_files import BadAdapter, check_adapter
from deployments.engine.base import Engine

logger = logging.getLogger("ray.serve")


class LoadedAdapter:
    """An adapter in the engine. Serve awaits its `__del__` when it evicts it; that waits until nobody uses it."""

    def __init__(self, spec: AdapterSpec, engine: Engine, shelf: dict[str, LoadedAdapter]) -> None:
        self.spec = spec
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
        await self._engine.unload_adapter(self.spec.names)


class AdapterShelf:
    """Adapters held by this replica, least recently used out. `names` are the canonical names of those loaded."""

    def __init__(self, engine: Engine, pool: AdapterPool, base_source: str) -> None:
        self._engine = engine
        self._pool = pool
        self._base_source = base_source
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

        Raises AdapterRejected when its files do not fit the model.
        """
        adapter = await self._ensure(spec)
        adapter.acquire()
        try:
            yield
        finally:
            adapter.release()

    async def _ensure(self, spec: AdapterSpec) -> LoadedAdapter:
        self._specs[spec.name] = spec
        if spec.name not in self._held:
            # Mark the busy ones as recently used, so that an idle one is evicted where there is one.
            for name, adapter in list(self._held.items()):
                if adapter.is_busy:
                    await self._get(name)
        return await self._get(spec.name)

    def _loader(self):
        async def load_adapter(name: str) -> LoadedAdapter:
            spec = self._specs[name]
            adapter = LoadedAdapter(spec, self._engine, self._held)
            path = await asyncio.to_thread(self._check, spec)
            try:
                await self._engine.load_adapter(spec.names, path)
            except ValueError as error:
                raise AdapterRejected(f"The engine refused the adapter {spec.name}: {error}", param="model") from None
            self._held[name] = adapter
            logger.info("adapter loaded: %s", name)
            return adapter

        return load_adapter

    def _check(self, spec: AdapterSpec) -> str:
        try:
            path = locate(spec.source)
            check_adapter(path, locate(self._base_source), self._pool.max_rank)
        except (BadAdapter, SourceNotFound) as error:
            reason = error.for_callers if isinstance(error, SourceNotFound) else error
            raise AdapterRejected(f"The adapter {spec.name} cannot be served: {reason}.", param="model") from None
        return path
