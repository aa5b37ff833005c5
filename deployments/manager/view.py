"""What the manager tells gateways."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.replicas import ReplicaReport, VariantStatus
from catalog.settings import CatalogSettings
from catalog.warmups import Warmup


@dataclass(frozen=True)
class FleetView:
    """What gateways know: the catalog (only when it changed), every replica, variant's status and warm-up."""

    version: int
    catalog_version: int
    catalog: CatalogSettings | None
    replicas: tuple[ReplicaReport, ...]
    variants: tuple[VariantStatus, ...]
    promoted: frozenset[str]
    warmups: tuple[Warmup, ...] = ()
