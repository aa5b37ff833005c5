"""A gateway's app around a real fleet, a manager that the test speaks for, and a relay that sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
from pydantic import SecretStr
from starlette.routing import BaseRoute

from catalog.catalog import AdapterSpec
from catalog.replicas import ReplicaReport
from catalog.settings import GatewaySettings
from deployments.gateway import cold_start
from deployments.gateway.admission import Admission
from deployments.gateway.app import build_gateway_app
from deployments.gateway.breakers import Breakers
from deployments.gateway.departure import Departure
from deployments.gateway.dispatch import Dispatcher
from deployments.gateway.exchange import Exchange, Reply
from deployments.gateway.fleet import Fleet
from deployments.gateway.limits import Limits, LocalWindows, Windows
from deployments.gateway.metrics import GatewayMetrics
from deployments.gateway.providers import Providers
from deployments.gateway.relay import ReplicaGone
from deployments.gateway.replies.cache import ResponseCache
from deployments.gateway.replies.idempotency import Idempotency
from deployments.gateway.replies.store import MemoryStore, ReplyStore
from deployments.gateway.services import Services
from deployments.gateway.shared_redis import SharedRedis
from deployments.gateway.tracing import Tracing
from router.breaker import BreakerRules
from router.keys import Keyring
from tests.unit.builders import CHAT, EMBEDDER, Client, FakeManager, Sent, http_scope, settle

Outcome = Callable[[Reply], Awaitable[None]]


class Call(NamedTuple):
    replica: str
    path: str
    body: bytes
    adapter: AdapterSpec | None
    exchange: Exchange


async def answer(reply: Reply) -> None:
    """What a replica answers where the test says nothing else."""
    await reply.whole(200, {"from": "the replica"})


class FakeRelay:
    """Takes the outcomes of its calls from `script`, in order; `answer` when there is none left."""

    def __init__(self) -> None:
        self.engine_metrics: dict[str, str] = {}
        self.calls: list[Call] = []
        self.script: list[Outcome | Exception] = []

    async def send(
        self,
        replica: ReplicaReport,
        path: str,
        headers: Any,
        body: bytes,
        adapter: AdapterSpec | None,
        exchange: Exchange,
        reply: Reply,
        patience: asyncio.Timeout,
    ) -> None:
        self.calls.append(Call(replica.replica_id, path, body, adapter, exchange))
        outcome = self.script.pop(0) if self.script else answer
        if isinstance(outcome, Exception):
            raise outcome
        await outcome(reply)

    async def metrics(self, replica: ReplicaReport) -> str:
        if replica.replica_id not in self.engine_metrics:
            raise ReplicaGone
        return self.engine_metrics[replica.replica_id]


class GatewayUnderTest:
    """The app and everything around it."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.manager = FakeManager()
        self.fleet = Fleet(self.manager)  # type: ignore[arg-type]
        self.relay = FakeRelay()
        self.settings = GatewaySettings.model_validate(
            {"defaults": {"chat": CHAT, "embeddings": EMBEDDER, "rerank": None}, "max_body_bytes": 10_000}
        )
        self.keyring = Keyring()
        self.now_s = 1_000_020.0
        self.redis: SharedRedis | None = None
        self.webhook_secrets: list[str] = []
        self.cache: ResponseCache | None = None
        self.replies: ReplyStore = MemoryStore(10**7, lambda: self.now_s)
        self.windows: Windows = LocalWindows(lambda: self.now_s)
        self.provider_keys = {"openai": SecretStr("sk-provider-secret"), "anthropic": SecretStr("sk-ant-secret")}
        self.pauses_s: list[float] = []
        self.providers = Providers(
            Breakers(BreakerRules(), lambda: self.now_s),
            lambda: self.settings,
            key_of=lambda provider: self.provider_keys.get(provider.name),
            sleep=self._pause,
        )
        self.departure = Departure()
        self.services = Services(
            self.fleet,
            settings=lambda: self.settings,
            keyring=lambda: self.keyring,
            redis=lambda: self.redis,
            limits=Limits(lambda: self.settings, lambda: self.windows),
            admission=Admission(self.fleet, lambda: self.settings.comment_interval_s),
            dispatcher=Dispatcher(
                self.fleet,
                self.relay,  # type: ignore[arg-type]
                Breakers(BreakerRules(), lambda: self.now_s),
                lambda: self.settings,
            ),
            relay=self.relay,  # type: ignore[arg-type]
            metrics=GatewayMetrics(),
            tracing=tracing or Tracing(),
            webhook_secrets=lambda: self.webhook_secrets,
            cache=lambda: self.cache,
            idempotency=Idempotency(lambda: self.replies),
            providers=self.providers,
            departure=self.departure,
        )
        self.app = build_gateway_app(self.services)
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://gateway")

    async def _pause(self, pause_s: float) -> None:
        self.pauses_s.append(pause_s)

    def routes(self) -> list[BaseRoute]:
        """The app's routes, from behind the envelope and the guard."""
        return self.app._app._app.routes  # type: ignore[attr-defined]

    async def publish(self, *replicas: ReplicaReport, **view: Any) -> None:
        """Have the manager tell the gateway of these replicas."""
        self.manager.publish(replicas, **view)
        await settle()

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self._http.get(path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self._http.request("POST", path, **options)

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._http.request(method, path, **options)

    async def chat(self, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        return await self.post("/v1/chat/completions", json={"model": CHAT, **body}, headers=headers)

    async def call(self, scope: dict[str, Any], client: Client) -> Sent:
        """Call the app itself, where a test needs a client that leaves or bytes that come in pieces."""
        sent = Sent()
        await self.app(scope, client, sent)
        return sent

    async def close(self) -> None:
        self.fleet._watching.cancel()
        await self._http.aclose()
        await self.providers.close()


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayUnderTest]:
    gateway = GatewayUnderTest()
    await settle()
    yield gateway
    await gateway.close()


@pytest.fixture
def no_pauses(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that waits for a start gets a comment whenever the event loop has a turn to give."""
    monkeypatch.setattr(cold_start, "FIRST_COMMENT_AFTER_S", 0)
    gateway.settings = gateway.settings.model_copy(update={"comment_interval_s": 0})


def chat_scope(**headers: str) -> dict[str, Any]:
    return http_scope(content_type="application/json", **headers)
