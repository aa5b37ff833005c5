"""What the manager tells gateways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from autoscaling.choice import Reason
from catalog.replicas import ReplicaReport, VariantStatus
from catalog.settings import CatalogSettings
from catalog.warmups import Warmup


class Placed(NamedTuple):
    """A replica for a request, and why its variant was chosen."""

    replica: ReplicaReport
    reason: Reason


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
