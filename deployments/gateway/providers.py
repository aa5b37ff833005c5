"""Requests to outside providers: whether one may be sent, and how often it is tried."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr

from catalog.catalog import Target
from catalog.errors import CircuitOpen, ProviderNotConfigured, QueueFull, ServiceError
from catalog.providers import ProviderSettings, Upstream
from catalog.settings import GatewaySettings
from deployments.environment import provider_key
from deployments.gateway.breakers import Breakers
from deployments.gateway.dispatch import Job
from deployments.gateway.provider_errors import Refusal
from router.retries import RetryBudget
from router.upstream import Outgoing, Plan, backoff_s, outgoing, plan

if TYPE_CHECKING:
    from deployments.gateway.provider_client import ProviderClient

# A caller is told to come back rather than kept for longer than this between two attempts.
MAX_RETRY_WAIT_S = 15.0

Sleep = Callable[[float], Awaitable[Any]]


class Call(NamedTuple):
    """What does not change from one attempt to the next."""

    job: Job
    upstream: Upstream
    plan: Plan
    out: Outgoing
    key: SecretStr

    @property
    def provider(self) -> ProviderSettings:
        return self.upstream.provider


class Providers:
    """Sends requests to providers. Connections are pooled by host; URLs come from the configuration only."""

    def __init__(
        self,
        breakers: Breakers,
        settings: Callable[[], GatewaySettings],
        key_of: Callable[[ProviderSettings], SecretStr | None] = provider_key,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._breakers = breakers
        self._settings = settings
        self._key_of = key_of
        self._sleep = sleep
        self._ongoing: Counter[str] = Counter()
        self._budgets: dict[str, RetryBudget] = {}
        self._client: ProviderClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def is_ready(self, target: Target) -> bool:
        """Whether a request for a provider's model could be sent: there is a key, and the circuit is not open."""
        assert target.upstream is not None
        provider = target.upstream.provider
        return self._key_of(provider) is not None and not self._breakers.blocked([provider.name])

    async def send(self, job: Job) -> None:
        """Have a job for a provider's model answered. Raises a RaymuxError.

        It is tried again, before the first byte of its answer, while the provider fails or asks to wait a little.
        """
        call = self._call(job)
        budget = self._budgets.setdefault(call.provider.name, RetryBudget())
        budget.deposit()
        with self._counted(call.provider):
            num_failed = 0
            while True:
                try:
                    async with self._attempting(call):
                        await (await self._http()).attempt(call)
                    return
                except (ServiceError, Refusal) as failure:
                    num_failed += 1
                    wait_s = self._wait_s(failure, call, num_failed)
                    if wait_s is None or not budget.withdraw(time.monotonic()):
                        raise failure.error if isinstance(failure, Refusal) else failure from None
                await self._sleep(wait_s)

    async def _http(self) -> ProviderClient:
        """Made with the first request: aiohttp takes a tenth of a second to import, and most gateways never need it."""
        if self._client is None:
            module = await asyncio.to_thread(import_module, "deployments.gateway.provider_client")
            client: type[ProviderClient] = module.ProviderClient
            # Another request may have made it meanwhile.
            self._client = self._client or client()
        return self._client

    def _call(self, job: Job) -> Call:
        """Raises InvalidRequest for what the provider cannot be asked, and ProviderNotConfigured."""
        upstream = job.target.upstream
        assert upstream is not None
        chosen = plan(job.endpoint, upstream)
        out = outgoing(job.body, chosen, upstream)
        key = self._key_of(upstream.provider)
        if key is None:
            raise ProviderNotConfigured(
                f"This service has no key for {upstream.provider.name}: its operator must set"
                f" {upstream.provider.api_key_env} for the gateway."
            )
        return Call(job, upstream, chosen, out, key)

    @contextmanager
    def _counted(self, provider: ProviderSettings) -> Iterator[None]:
        if self._ongoing[provider.name] >= provider.max_ongoing_requests:
            raise QueueFull(f"As many requests run at {provider.name} as may; try again.", retry_after_s=1)
        self._ongoing[provider.name] += 1
        try:
            yield
        finally:
            self._ongoing[provider.name] -= 1

    @asynccontextmanager
    async def _attempting(self, call: Call) -> AsyncIterator[None]:
        """Around each attempt: the provider's circuit breaker. Raises CircuitOpen."""
        name = call.provider.name
        if wait_s := self._breakers.blocked([name]).get(name):
            message = f"{name} has failed too often lately; try again."
            raise Refusal(CircuitOpen(message, retry_after_s=wait_s))
        with self._breakers.watching(name):
            yield

    def _wait_s(self, failure: ServiceError | Refusal, call: Call, num_failed: int) -> float | None:
        """How long to wait before the next attempt; None where there is none."""
        exchange, error = call.job.exchange, failure.error if isinstance(failure, Refusal) else failure
        if exchange.first_byte_ms is not None or num_failed > call.provider.max_retries:
            return None
        if isinstance(failure, Refusal) and not failure.is_retryable:
            return None
        wait_s = backoff_s(num_failed, error.retry_after_s, random.random())
        deadline_s = self._settings().deadline_s
        left_s = deadline_s - (time.perf_counter() - exchange.begun_s) if deadline_s is not None else wait_s
        return wait_s if wait_s <= min(MAX_RETRY_WAIT_S, left_s) else None
