"""The Serve deployment of the gateway: the application's ingress."""

from __future__ import annotations

import logging
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from catalog.cache import CacheSettings
from catalog.keys import ApiKeySettings
from catalog.loading import GATEWAY, parse, require_keys
from catalog.redis import RedisSettings
from catalog.settings import GatewaySettings
from deployments.background import Background
from deployments.environment import environment_keys, redis_url, webhook_secrets
from deployments.gateway.admission import Admission
from deployments.gateway.app import build_gateway_app
from deployments.gateway.breakers import Breakers
from deployments.gateway.departure import Departure
from deployments.gateway.dispatch import Dispatcher
from deployments.gateway.fleet import Fleet
from deployments.gateway.limits import Limits, LocalWindows, Windows
from deployments.gateway.metrics import GatewayMetrics
from deployments.gateway.providers import Providers
from deployments.gateway.relay import Relay
from deployments.gateway.replies.cache import ResponseCache
from deployments.gateway.replies.idempotency import Idempotency
from deployments.gateway.replies.store import MemoryStore, RedisStore, ReplyStore
from deployments.gateway.services import Services
from deployments.gateway.shared_redis import SharedRedis
from deployments.gateway.shared_windows import SharedWindows
from deployments.gateway.tracing import tracing_from_environment
from deployments.serve_options import grace_s, serve_host
from router.breaker import BreakerRules
from router.keys import Keyring

# Memory for answers to Idempotency-Keys, of which a gateway without Redis forgets the least recently used.
logger = logging.getLogger("ray.serve")

IDEMPOTENCY_BYTES = 64 * 1024**2


@serve.deployment(
    name=GATEWAY,
    num_replicas=1,
    max_ongoing_requests=100_000,
    # On the head node, where the front door is and with it what a gateway inherits: keys. From another node's loopback
    # none would be reached, and a node that Ray's autoscaler removes would take its gateway's streams with it.
    ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.0001}},
    graceful_shutdown_timeout_s=600,
    # An update starts the new gateway before it ends the old one: without it nobody would serve meanwhile.
    max_surge_percent=100,
)
@serve.ingress()
class Gateway:
    """Its `user_config` is GatewaySettings."""

    async def __init__(self, manager: DeploymentHandle) -> None:
        self._tracing = tracing_from_environment()
        self._settings = GatewaySettings()
        self._is_configured = False
        self._keyring = Keyring(environment_keys())
        self._redis: SharedRedis | None = None
        self._windows: Windows = LocalWindows()
        self._cache: ResponseCache | None = None
        self._metrics = GatewayMetrics()
        self._spare_replies = MemoryStore(IDEMPOTENCY_BYTES)
        self._fleet = Fleet(manager)
        self._relay = Relay(self._settings.connect_timeout_s)
        self._departure = Departure()
        self._background = Background()
        self._background.start(self._departure.follow(grace_s))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Serve after the constructor."""
        metrics = self._metrics
        breakers = Breakers(BreakerRules(), on_open=lambda _: metrics.breaker_opened("replica"))
        provider_breakers = Breakers(BreakerRules(), on_open=lambda _: metrics.breaker_opened("provider"))
        admission = Admission(self._fleet, lambda: self._settings.comment_interval_s)
        metrics.watch_queue(lambda: admission.num_queued)
        services = Services(
            self._fleet,
            settings=lambda: self._settings,
            keyring=lambda: self._keyring,
            redis=lambda: self._redis,
            limits=Limits(lambda: self._settings, lambda: self._windows),
            admission=admission,
            dispatcher=Dispatcher(self._fleet, self._relay, breakers, lambda: self._settings),
            relay=self._relay,
            metrics=metrics,
            tracing=self._tracing,
            webhook_secrets=webhook_secrets,
            cache=lambda: self._cache,
            idempotency=Idempotency(self._replies),
            providers=Providers(provider_breakers, lambda: self._settings),
            departure=self._departure,
        )
        return build_gateway_app(services, under_serve=True)

    def __del__(self) -> None:
        """Serve calls it when the last request has ended."""
        self._tracing.close()

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Take over new settings; requests under way keep the old ones.

        Later ones that are no good are not taken over, and the log says why: Serve would end a gateway that raised.
        """
        try:
            settings, keys = _checked(config)
        except ValueError as error:
            if not self._is_configured:
                raise
            logger.error("the configuration is no good, so the one before stays: %s", error)
            return
        self._is_configured = True
        has_changed = settings.redis != self._settings.redis
        if has_changed:
            await self._use_redis(settings.redis)
        if has_changed or settings.cache != self._settings.cache:
            self._use_cache(settings.cache)
        self._settings, self._keyring = settings, Keyring((*settings.keys, *keys))

    async def _use_redis(self, settings: RedisSettings | None) -> None:
        before, self._redis = self._redis, SharedRedis(redis_url(settings), settings) if settings else None
        self._windows = SharedWindows(self._redis) if self._redis else LocalWindows()
        if before is not None:
            await before.close()

    def _use_cache(self, settings: CacheSettings | None) -> None:
        if settings is None:
            self._cache = None
            return
        store: ReplyStore = MemoryStore(settings.max_bytes)
        if self._redis is not None:
            store = RedisStore(self._redis, "cache", store)
        self._cache = ResponseCache(store, settings, self._metrics)

    def _replies(self) -> ReplyStore:
        """Where answers to Idempotency-Keys are."""
        return RedisStore(self._redis, "idempotency", self._spare_replies) if self._redis else self._spare_replies


def _checked(config: dict[str, Any]) -> tuple[GatewaySettings, tuple[ApiKeySettings, ...]]:
    """The settings, and the keys of the environment. Raises ValueError when a gateway cannot run with them."""
    settings, keys = parse(GatewaySettings, config, f"{GATEWAY}.user_config"), environment_keys()
    require_keys(serve_host(), settings, has_environment_keys=bool(keys))
    if settings.redis is not None:
        redis_url(settings.redis)
    return settings, keys
