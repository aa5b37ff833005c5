"""What the routes of one gateway share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalog.settings import GatewaySettings
from deployments.gateway.admission import Admission
from deployments.gateway.departure import Departure
from deployments.gateway.dispatch import Dispatcher
from deployments.gateway.fleet import Fleet
from deployments.gateway.limits import Limits
from deployments.gateway.metrics import GatewayMetrics
from deployments.gateway.providers import Providers
from deployments.gateway.relay import Relay
from deployments.gateway.replies.cache import ResponseCache
from deployments.gateway.replies.idempotency import Idempotency
from deployments.gateway.shared_redis import SharedRedis
from deployments.gateway.tracing import Tracing
from router.keys import Keyring


@dataclass(frozen=True)
class Services:
    """Made once for a gateway. What a new configuration replaces is behind a function."""

    fleet: Fleet
    settings: Callable[[], GatewaySettings]
    keyring: Callable[[], Keyring]
    redis: Callable[[], SharedRedis | None]
    limits: Limits
    admission: Admission
    dispatcher: Dispatcher
    relay: Relay
    metrics: GatewayMetrics
    tracing: Tracing
    webhook_secrets: Callable[[], Sequence[str]]
    cache: Callable[[], ResponseCache | None]
    idempotency: Idempotency
    providers: Providers
    departure: Departure
