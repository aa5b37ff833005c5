"""What the gateway's and the manager's work on a catalog costs in CPU time, without a cluster."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from catalog.catalog import Catalog
from catalog.errors import ModelNotFound
from catalog.loading import parse
from catalog.settings import CatalogSettings
from deployments.gateway.fleet import Fleet
from deployments.manager.view import FleetView, packed
from router.endpoints import ENDPOINTS
from router.resolve import resolve

ENDPOINT = next(endpoint for endpoint in ENDPOINTS if endpoint.path == "/v1/chat/completions")
REPETITIONS = 5


def measure(user_config: dict[str, Any]) -> dict[str, float]:
    """The figures by what they are of; medians."""
    settings = parse(CatalogSettings, user_config, "user_config")
    catalog = Catalog(settings)
    names = list(catalog.names)
    return {
        "a configuration is checked, ms": _ms(lambda: parse(CatalogSettings, user_config, "user_config")),
        "an index over it is made, ms": _ms(lambda: Catalog(settings)),
        "a name is resolved, µs": _ms(lambda: _resolve_all(catalog, names)) * 1000 / len(names),
        "a name that nothing has is refused, ms": _ms(lambda: _resolve_all(catalog, ["model-0x00"])),
        "the catalog is packed for gateways, KiB": len(packed(settings)) / 1024,
        "a whole garbage collection of a gateway that has it, ms": asyncio.run(_collection_ms(settings)),
    }


def _ms(work: Callable[[], object]) -> float:
    times_s = []
    for _ in range(REPETITIONS):
        begun_s = time.thread_time()
        work()
        times_s.append(time.thread_time() - begun_s)
    return statistics.median(times_s) * 1000


def _resolve_all(catalog: Catalog, names: list[str]) -> None:
    for name in names:
        try:
            resolve(catalog, name, None, ENDPOINT, frozenset())
        except ModelNotFound:
            continue


async def _collection_ms(settings: CatalogSettings) -> float:
    """As Serve leaves a replica, with what was there before the catalog frozen."""
    gc.collect()
    gc.freeze()

    async def watch(version: int, *_: object) -> FleetView:
        if version:
            await asyncio.Event().wait()
        return FleetView(1, 1, packed(settings), (), (), frozenset())

    fleet = Fleet(SimpleNamespace(watch=SimpleNamespace(remote=watch)))  # type: ignore[arg-type]
    while not fleet.is_ready:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    begun_s = time.thread_time()
    gc.collect()
    passed_s = time.thread_time() - begun_s
    fleet._watching.cancel()
    gc.unfreeze()
    return passed_s * 1000
