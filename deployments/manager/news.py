"""What is new of the fleet, for a gateway that knows an earlier version of it."""

from __future__ import annotations

from catalog.catalog import Catalog
from deployments.manager.changes import PROMOTED, WARMUPS, Changes
from deployments.manager.keepers import Keepers
from deployments.manager.orders import Orders
from deployments.manager.view import FleetView, packed
from deployments.manager.warmups import Warmups


class News:
    """Tells of what changed since; with hundreds of models the whole fleet would be too much for each change of one."""

    def __init__(self, changes: Changes, keepers: Keepers, orders: Orders, warmups: Warmups) -> None:
        self._changes = changes
        self._keepers = keepers
        self._orders = orders
        self._warmups = warmups
        self._packed = 0, b""

    def since(self, version: int, catalog_version: int, catalog: Catalog | None) -> FleetView:
        """The news for a gateway that knows these versions, and the catalog if that is a later one."""
        topics = self._changes.since(version)
        keepers = list(self._keepers) if topics is None else self._keepers.of_keys(topics)
        is_new = catalog is not None and catalog_version != self._changes.catalog_version
        return FleetView(
            version=self._changes.version,
            catalog_version=self._changes.catalog_version,
            catalog=self._pack(catalog) if is_new and catalog else None,
            replicas=tuple(report for keeper in keepers for report in keeper.replicas.values()),
            variants=tuple(keeper.status() for keeper in keepers),
            promoted=frozenset(self._orders.promoted) if topics is None or PROMOTED in topics else None,
            warmups=self._warmups.all() if topics is None or WARMUPS in topics else None,
            is_whole=topics is None,
        )

    def _pack(self, catalog: Catalog) -> bytes:
        """Once for all gateways."""
        if self._packed[0] != self._changes.catalog_version:
            self._packed = self._changes.catalog_version, packed(catalog.settings)
        return self._packed[1]
