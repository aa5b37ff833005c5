"""What the manager tells gateways."""

from __future__ import annotations

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
    """A replica for a request, and why its variant was chosen."""

    replica: ReplicaReport
    reason: Reason


@dataclass(frozen=True)
class FleetView:
    """What gateways know: the catalog (only when it changed), every replica, variant's status and warm-up.

    `sent` is what other gateways have sent to replicas since this one has asked.
    """

    version: int
    catalog_version: int
    catalog: CatalogSettings | None
    replicas: tuple[ReplicaReport, ...]
    variants: tuple[VariantStatus, ...]
    promoted: frozenset[str]
    warmups: tuple[Warmup, ...] = ()
    sent: tuple[SentPrompt, ...] = ()
    num_gateways: int = 1
