"""What the gateway's and the manager's work on a catalog costs in CPU time, without a cluster."""

from __future__ import annotations

import asyncio
import gc
import pickle
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from autoscaling.cluster import Cluster
from catalog.catalog import Catalog
from catalog.errors import ModelNotFound
from catalog.loading import parse
from catalog.replicas import ReplicaReport, ReplicaState
from catalog.settings import CatalogSettings
from deployments.garbage import spare_what_stays
from deployments.gateway.fleet import Fleet
from deployments.manager.changes import Changes
from deployments.manager.keepers import Keepers
from deployments.manager.news import News
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
        **asyncio.run(_of_a_fleet(settings)),
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


async def _of_a_fleet(settings: CatalogSettings) -> dict[str, float]:
    """Of a manager and a gateway in this process. What was there before is spared, as Serve does in a replica."""
    spare_what_stays()
    changes, catalog = Changes(), Catalog(settings)
    keepers = Keepers(SimpleNamespace(), _no_look, changes.note)  # type: ignore[arg-type]
    await keepers.take_over(catalog, is_first=False)
    news = News(changes, keepers, SimpleNamespace(promoted=()), SimpleNamespace(all=tuple))  # type: ignore[arg-type]

    async def watch(version: int, catalog_version: int, *_: object) -> FleetView:
        await changes.after(version, 60)
        return news.since(version, catalog_version, catalog)

    fleet = Fleet(SimpleNamespace(watch=SimpleNamespace(remote=watch)))  # type: ignore[arg-type]
    while not fleet.is_ready:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    fleet._watching.cancel()

    def tell(version: int) -> None:
        fleet._apply(pickle.loads(pickle.dumps(news.since(version, changes.catalog_version, catalog))), None)

    def report() -> None:
        before = changes.version
        keepers.take(_report(next(iter(catalog.variants))))
        tell(before)

    return {
        "a replica's report on its way to a gateway, ms": _ms(report),
        "everything on its way to a gateway, ms": _ms(lambda: tell(0)),
        "a whole garbage collection, ms": _ms(gc.collect),
    }


async def _no_look() -> Cluster:
    raise NotImplementedError("nothing is placed here")


def _report(variant: str) -> ReplicaReport:
    return ReplicaReport("replica", variant, "0" * 16, ReplicaState.READY, time.time(), address="127.0.0.1:9")
