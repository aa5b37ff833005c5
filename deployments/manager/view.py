"""What the manager tells gateways."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import NamedTuple

from autoscaling.choice import Reason
from catalog.replicas import ReplicaReport, VariantStatus
from catalog.settings import CatalogSettings
from catalog.warmups import Warmup
from router.outlook import SentPrompt


class StayTerms(NamedTuple):
    """What a replica learns from the reply to its report.

    It does not leave for being idle before `held_until_s` (seconds since the epoch), nor before it has been idle for
    `idle_timeout_s`.
    """

    held_until_s: float
    idle_timeout_s: float


class Placed(NamedTuple):
    """A replica for a request, why its variant was chosen, and how the variant fares when the manager says so."""

    replica: ReplicaReport
    reason: Reason
    status: VariantStatus | None = None


@dataclass(frozen=True)
class FleetView:
    """What has changed for gateways since the version that they know.

    `variants` are the statuses of those that have changed, and `replicas` all the replicas that these have; with
    `is_whole` there are no others. `catalog` is `packed`. What is None has not changed. `sent` is what other gateways
    have sent to replicas since this one has asked.
    """

    version: int
    catalog_version: int
    catalog: bytes | None
    replicas: tuple[ReplicaReport, ...]
    variants: tuple[VariantStatus, ...]
    promoted: frozenset[str] | None
    warmups: tuple[Warmup, ...] | None = ()
    is_whole: bool = True
    sent: tuple[SentPrompt, ...] = ()
    num_gateways: int = 1


def packed(settings: CatalogSettings) -> bytes:
    """A catalog's settings as bytes, which cost whoever passes them on nothing."""
    return pickle.dumps(settings)


def unpacked(catalog: bytes) -> CatalogSettings:
    """What `packed` made; only of bytes that come from the manager."""
    return pickle.loads(catalog)
