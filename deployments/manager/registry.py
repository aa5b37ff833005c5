"""The models of the configuration and those registered at run time, which the store keeps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.catalog import Catalog, Target
from catalog.errors import InvalidRequest, ModelExists, ModelFailed, ModelInUse, PermissionDenied
from catalog.fit_check import misfits
from catalog.models import AdapterSettings, CheckpointSettings, ModelSettings
from catalog.registry import Entry, parse_entry, with_entries, with_fitting_entries
from catalog.remote import is_remote, is_within_places
from catalog.settings import CatalogSettings
from catalog.sources import SourceRefused, SourceUnavailable, locate_within
from catalog.weights import WeightsIncomplete, require_complete
from deployments.manager.store import Kind, Store
from deployments.sources.bring import MAX_ADAPTER_BYTES, Sources

logger = logging.getLogger("ray.serve")


class Registry:
    """Owns the catalog. Changes come one after the other, and are stored before they take effect."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._configured: CatalogSettings | None = None
        self._entries: dict[str, Entry] = {}
        self._changing = asyncio.Lock()

    async def configure(self, settings: CatalogSettings) -> Catalog:
        """The catalog of a configuration, with what was registered; where they clash, the configuration wins."""
        async with self._changing:
            if self._configured is None:
                records = await self._store.read(Kind.MODEL)
                self._entries = {name: parse_entry(fields) for name, fields in records.items()}
            merged, left_out = with_fitting_entries(settings, self._entries)
            for name, reason in left_out.items():
                logger.error("%s, registered at run time, does not fit the configuration: %s", name, reason)
            self._configured = settings
            return Catalog(merged)

    async def add(self, fields: Mapping[str, Any], *roots: str) -> Catalog:
        """The catalog with one more model, adapter or checkpoint. The same entry a second time changes nothing.

        Its files lie in one of the configuration's `runtime_sources`, or of the folders `roots`. An adapter that is
        elsewhere is fetched, so that one that cannot be served is refused; a model's weights, which may take long, are
        checked by the node that will run it. Raises InvalidRequest, PermissionDenied, ModelExists, ModelFailed when an
        adapter cannot be fetched just now, or StoreUnavailable.
        """
        entry = parse_entry(fields)
        if is_remote(entry.source) and self._with(entry) is not None:
            # Before its turn: a download must not keep other changes waiting.
            await _require_fetchable(entry, self._require_configured())
        async with self._changing:
            merged = self._with(entry)
            if merged is None:
                return Catalog(with_fitting_entries(self._require_configured(), self._entries)[0])
            if not is_remote(entry.source):
                places = (*self._require_configured().runtime_sources, *roots)
                await asyncio.to_thread(_require_servable, entry, places)
            await asyncio.to_thread(_require_fit, Catalog(merged).find(entry.name))
            await self._store.put(Kind.MODEL, entry.name, entry.model_dump(mode="json"))
            self._entries = {**self._entries, entry.name: entry}
            return Catalog(merged)

    def _with(self, entry: Entry) -> CatalogSettings | None:
        """The settings with one more entry, or None when they have it. Raises ModelExists or InvalidRequest."""
        present, _ = with_fitting_entries(self._require_configured(), self._entries)
        if entry.name in Catalog(present).names:
            if self._entries.get(entry.name) == entry:
                return None
            raise ModelExists(f"A model named {entry.name} exists already; DELETE it first.", param="name")
        try:
            return with_entries(present, [entry])
        except ValueError as error:
            raise InvalidRequest(f"{entry.name} cannot be registered: {error}", param="name") from None

    async def remove(self, target: Target) -> Catalog:
        """The catalog without an entry that was registered at run time.

        Raises InvalidRequest for one of the configuration, ModelInUse when other entries need it, or StoreUnavailable.
        """
        async with self._changing:
            if target.name not in self._entries:
                raise InvalidRequest(f"{target.name} stands in the configuration: remove it there.", param="model")
            entries = {name: entry for name, entry in self._entries.items() if name != target.name}
            merged, left_out = with_fitting_entries(self._require_configured(), entries)
            if left_out:
                raise ModelInUse(f"{target.name} is the base of {', '.join(sorted(left_out)[:5])}: DELETE that first.")
            await self._store.delete(Kind.MODEL, target.name)
            self._entries = entries
            return Catalog(merged)

    def _require_configured(self) -> CatalogSettings:
        assert self._configured is not None, "the manager is configured before it is called"
        return self._configured


def _require_servable(entry: Entry, places: tuple[str, ...]) -> None:
    """Raise PermissionDenied or InvalidRequest unless the entry's files are whole and where such files may be."""
    folder = locate_within(entry.source, [place for place in places if not is_remote(place)])
    if folder is None:
        raise _denied(places)
    _require_whole(entry, folder)


async def _require_fetchable(entry: Entry, configured: CatalogSettings) -> None:
    """The same of a source that is elsewhere; raises ModelFailed too. A model's weights are looked at by its node."""
    if not is_within_places(entry.source, configured.runtime_sources):
        raise _denied(configured.runtime_sources)
    if not _is_adapter(entry):
        return
    try:
        files = await Sources(configured.source_cache).bring(entry.source, MAX_ADAPTER_BYTES)
    except SourceUnavailable as error:
        raise ModelFailed(f"{entry.name} cannot be fetched: {error}.", retry_after_s=10) from None
    except SourceRefused as error:
        raise InvalidRequest(f"source: {error}", param="source") from None
    try:
        await asyncio.to_thread(_require_whole, entry, Path(files.location))
    finally:
        files.release()


def _denied(places: tuple[str, ...]) -> PermissionDenied:
    allowed = f"one of {', '.join(places)}" if places else "none: set runtime_sources in the configuration"
    return PermissionDenied(f"source must be in a place for models registered at run time ({allowed}).", param="source")


def _require_whole(entry: Entry, folder: Path) -> None:
    try:
        require_complete(folder, "adapter_config.json" if _is_adapter(entry) else "config.json")
    except WeightsIncomplete as error:
        raise InvalidRequest(f"source: {error}", param="source") from None


def _require_fit(target: Target | None) -> None:
    """Raise InvalidRequest when a variant cannot hold weights that are here. An adapter's base was checked before."""
    if target is None or target.adapter is not None or is_remote(target.variants[0].source):
        return
    try:
        for index, reason in misfits(target):
            raise InvalidRequest(f"variants.{index}: {reason}", param=f"variants.{index}")
    except WeightsIncomplete as error:
        raise InvalidRequest(f"source: {error}", param="source") from None


def _is_adapter(entry: ModelSettings | AdapterSettings | CheckpointSettings) -> bool:
    return isinstance(entry, AdapterSettings) or (isinstance(entry, CheckpointSettings) and entry.kind == "adapter")
