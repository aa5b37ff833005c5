"""From an admitted request to the replica that answers it: choice, cold start, attempts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from autoscaling.choice import Reason
from catalog.catalog import Target, VariantSpec
from catalog.errors import CircuitOpen, ModelLoading, RaymuxError, UpstreamError
from catalog.gpus import spills
from catalog.models import Task
from catalog.settings import GatewaySettings
from deployments.gateway.breakers import Breakers, HungError
from deployments.gateway.cold_start import wait_for_start
from deployments.gateway.exchange import Exchange, Reply
from deployments.gateway.fleet import Fleet
from deployments.gateway.lookout import Prompt
from deployments.gateway.relay import Relay, ReplicaDraining, ReplicaGone
from deployments.gateway.tracing import traced
from deployments.manager.view import Placed
from router.body import replace_model
from router.endpoints import Endpoint
from router.retries import RetryBudget

# Attempts that no replica took cost nobody anything.
MAX_ATTEMPTS = 3
# A request that broke a replica off may do the same to the next one.
MAX_BROKEN_OFF = 2


@dataclass(slots=True)
class Job:
    """One request on its way to a replica."""

    endpoint: Endpoint
    target: Target
    variants: tuple[VariantSpec, ...]
    is_in_order: bool
    body: bytes
    headers: Mapping[bytes, bytes]
    is_stream: bool
    exchange: Exchange
    reply: Reply
    prompt: Prompt | None = None

    @property
    def told(self) -> Reply | None:
        """The reply that may get comments while the request waits: a stream's."""
        return self.reply if self.is_stream and self.endpoint.task is Task.GENERATE else None

    def instead(self, target: Target) -> Job:
        """The same for another model, on whichever of its variants."""
        self.exchange.model = target.name
        return replace(
            self,
            target=target,
            variants=target.variants,
            is_in_order=False,
            body=replace_model(self.body, target.name),
        )

    def note(self, placed: Placed) -> None:
        """Write down where the request goes, and why."""
        replica = placed.replica
        self.exchange.num_attempts += 1
        self.exchange.choice = str(placed.reason)
        self.exchange.replica = replica.replica_id
        self.exchange.variant = replica.variant
        self.exchange.shape = replica.variant.rpartition("@")[2]


class Dispatcher:
    """Sends jobs to replicas; to another one when that one did not take it, or gave up before the first byte."""

    def __init__(self, fleet: Fleet, relay: Relay, breakers: Breakers, settings: Callable[[], GatewaySettings]) -> None:
        self._fleet = fleet
        self._relay = relay
        self._breakers = breakers
        self._settings = settings
        self._retries = RetryBudget()

    async def send(self, job: Job) -> None:
        """Have the job answered. Raises a RaymuxError where nobody does."""
        self._retries.deposit()
        num_broken_off = 0
        for _ in range(MAX_ATTEMPTS):
            placed = self._warm(job) or await self._cold(job)
            self._relieve(job, placed)
            job.note(placed)
            try:
                with traced(job.exchange, "attempt", variant=placed.replica.variant, choice=str(placed.reason)):
                    await self._attempt(job, placed)
                return
            except ReplicaDraining:
                self._fleet.mark_draining(placed.replica)
                continue
            except ReplicaGone as loss:
                self._fleet.mark_unreachable(placed.replica)
                num_broken_off += loss.was_sent
            if num_broken_off >= MAX_BROKEN_OFF or not self._retries.withdraw(time.monotonic()):
                break
        raise UpstreamError(f"No replica of {job.target.name} answered the request; try again.", retry_after_s=1)

    def _warm(self, job: Job) -> Placed | None:
        """A replica that is warm. Raises CircuitOpen when all that are have failed too often."""
        ready = [replica.replica_id for variant in job.variants for replica in self._fleet.ready(variant)]
        blocked = self._breakers.blocked(ready)
        placed = self._fleet.warm(
            job.variants, job.target.adapter, in_order=job.is_in_order, blocked=blocked, prompt=job.prompt
        )
        if placed is None and blocked and len(blocked) == len(ready):
            raise CircuitOpen(
                f"{job.target.name} has failed too often lately; try again.", retry_after_s=min(blocked.values())
            )
        return placed

    async def _attempt(self, job: Job, placed: Placed) -> None:
        """Relay the job to one replica. Raises ReplicaUnavailable where another one may still answer it."""
        replica, exchange = placed.replica, job.exchange
        timeout_s = self._settings().first_token_timeout_s if job.told else None
        try:
            with (
                self._fleet.ongoing(replica),
                self._fleet.followed(replica, job.prompt, job.target.adapter, exchange),
                self._breakers.watching(replica.replica_id),
            ):
                try:
                    async with asyncio.timeout(timeout_s) as patience:
                        with self._fleet.watchdog.watched(replica.replica_id, patience):
                            await self._relay.send(
                                replica,
                                job.endpoint.engine_path,
                                job.headers,
                                job.body,
                                job.target.adapter,
                                exchange,
                                job.reply,
                                patience,
                            )
                except TimeoutError as error:
                    raise HungError from error
        except HungError as error:
            if exchange.first_byte_ms is None:
                raise ReplicaGone(was_sent=True) from error
            raise UpstreamError("The engine fell silent in the middle of its reply; try again.") from error

    def _relieve(self, job: Job, placed: Placed) -> None:
        """Have another variant started where this one is full, or is the CPU in place of a GPU."""
        if job.is_in_order or len(job.variants) == 1:
            return
        shapes = [variant.settings.shape for variant in job.variants]
        keys = [variant.key for variant in job.variants]
        if placed.reason is Reason.FULL or spills(shapes)[keys.index(placed.replica.variant)]:
            self._fleet.relieve(job.variants)

    async def _cold(self, job: Job) -> Placed:
        """Start a variant, or load the adapter on a warm one, and wait for it."""
        is_cold = all(self._fleet.choose(variant, None) is None for variant in job.variants)
        start = self._fleet.start(job.variants, job.target.adapter, in_order=job.is_in_order)
        status = self._fleet.starting(job.variants)
        expected_s = status.expected_start_s if status else None
        if is_cold and text_of(job.headers, b"x-raymux-no-wait") == "true":
            # A start that cannot be is worth telling at once; one that is under way is not waited for.
            await asyncio.wait({start}, timeout=0.05)
            if not start.done():
                raise ModelLoading(f"{job.target.name} is starting; try again.", retry_after_s=expected_s or 30)
        begun_s = time.perf_counter()
        with traced(job.exchange, "cold_start" if is_cold else "adapter_load"):
            outcome = await wait_for_start(
                start,
                job.told if is_cold else None,
                lambda: self._fleet.starting(job.variants),
                self._settings().comment_interval_s,
            )
        if isinstance(outcome, RaymuxError):
            raise outcome
        if is_cold:
            job.exchange.cold_start_s = time.perf_counter() - begun_s
        return outcome


def text_of(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    """A header's value, or None."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
