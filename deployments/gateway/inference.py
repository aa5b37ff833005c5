"""An inference request's way through the gateway, step by step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from autoscaling.choice import Reason
from catalog.catalog import Target, VariantSpec
from catalog.errors import ModelLoading, PayloadTooLarge, RaymuxError, UnsupportedMediaType, UpstreamError
from catalog.gpus import spills
from catalog.models import Task
from deployments.gateway.cold_start import wait_for_start
from deployments.gateway.exchange import ClientLeft, Exchange, Reply
from deployments.gateway.relay import ReplicaUnavailable
from deployments.gateway.services import Services
from deployments.manager.view import Placed
from router.body import Peek, peek, with_model
from router.endpoints import Endpoint
from router.limits import estimate_tokens
from router.resolve import resolve
from router.variants import eligible, preferred_shapes

MAX_ATTEMPTS = 3


class Inference:
    """The ASGI app behind one inference endpoint."""

    def __init__(self, endpoint: Endpoint, services: Services) -> None:
        self._endpoint = endpoint
        self._fleet = services.fleet
        self._relay = services.relay
        self._settings = services.settings
        self._limits = services.limits
        self._admission = services.admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, reply, headers = scope["exchange"], scope["reply"], dict(scope["headers"])
        body = await read_json_body(headers, receive, self._settings().max_body_bytes)
        wish = peek(body)
        target = self._resolve(wish, exchange)
        if wish.model is None and self._endpoint.needs_model:
            body = with_model(body, target.name)
        shapes = preferred_shapes(_text(headers, b"x-gpu-preference"), wish.gpu_preference)
        job = _Job(target, eligible(target, shapes), bool(shapes), body, headers, wish.stream, exchange, reply)
        tokens = estimate_tokens(len(body), wish.max_tokens if self._endpoint.task is Task.GENERATE else 0)
        async with self._limits.taken(exchange, self._endpoint.path, tokens):
            await until_client_leaves(receive, exchange, self._admit(job, tokens))

    async def _admit(self, job: _Job, tokens: int) -> None:
        reply = job.reply if job.is_stream and self._endpoint.task is Task.GENERATE else None
        async with self._admission.admitted(job.target, job.variants, job.exchange, tokens, reply):
            await self._dispatch(job)

    def _resolve(self, wish: Peek, exchange: Exchange) -> Target:
        default = getattr(self._settings().defaults, self._endpoint.default)
        target = resolve(
            self._fleet.catalog, wish.model, default, self._endpoint, self._fleet.promoted, exchange.caller
        )
        exchange.model = target.name
        return target

    async def _dispatch(self, job: _Job) -> None:
        """Send the request to a replica; to another one when that one did not take it."""
        for _ in range(MAX_ATTEMPTS):
            placed = self._fleet.warm(job.variants, job.target.adapter, in_order=job.is_in_order)
            placed = placed or await self._cold(job)
            self._relieve(job, placed)
            job.note(placed)
            replica = placed.replica
            try:
                with self._fleet.ongoing(replica):
                    await self._relay.send(
                        replica,
                        self._endpoint.engine_path,
                        job.headers,
                        job.body,
                        job.target.adapter,
                        job.exchange,
                        job.reply,
                    )
                return
            except ReplicaUnavailable as refusal:
                if refusal.is_draining:
                    self._fleet.mark_draining(replica)
                else:
                    self._fleet.mark_unreachable(replica)
        raise UpstreamError(f"No replica of {job.target.name} took the request; try again.", retry_after_s=1)

    def _relieve(self, job: _Job, placed: Placed) -> None:
        """Have another variant started where this one is full, or is the CPU in place of a GPU."""
        if job.is_in_order or len(job.variants) == 1:
            return
        shapes = [variant.settings.shape for variant in job.variants]
        keys = [variant.key for variant in job.variants]
        if placed.reason is Reason.FULL or spills(shapes)[keys.index(placed.replica.variant)]:
            self._fleet.relieve(job.variants)

    async def _cold(self, job: _Job) -> Placed:
        """Start a variant, or load the adapter on a warm one, and wait for it."""
        is_cold = all(self._fleet.choose(variant, None) is None for variant in job.variants)
        start = self._fleet.start(job.variants, job.target.adapter, in_order=job.is_in_order)
        status = self._fleet.starting(job.variants)
        expected_s = status.expected_start_s if status else None
        if is_cold and _text(job.headers, b"x-raymux-no-wait") == "true":
            # A start that cannot be is worth telling at once; one that is under way is not waited for.
            await asyncio.wait({start}, timeout=0.05)
            if not start.done():
                raise ModelLoading(f"{job.target.name} is starting; try again.", retry_after_s=expected_s or 30)
        begun_s = time.perf_counter()
        outcome = await wait_for_start(
            start,
            job.reply if job.is_stream and is_cold and self._endpoint.task is Task.GENERATE else None,
            lambda: self._fleet.starting(job.variants),
            self._settings().comment_interval_s,
        )
        if isinstance(outcome, RaymuxError):
            raise outcome
        if is_cold:
            job.exchange.cold_start_s = time.perf_counter() - begun_s
        return outcome


@dataclass(slots=True)
class _Job:
    """One request on its way to a replica."""

    target: Target
    variants: tuple[VariantSpec, ...]
    is_in_order: bool
    body: bytes
    headers: Mapping[bytes, bytes]
    is_stream: bool
    exchange: Exchange
    reply: Reply

    def note(self, placed: Placed) -> None:
        """Write down where the request goes, and why."""
        replica = placed.replica
        self.exchange.num_attempts += 1
        self.exchange.choice = str(placed.reason)
        self.exchange.replica = replica.replica_id
        self.exchange.variant = replica.variant
        self.exchange.shape = replica.variant.rpartition("@")[2]


async def read_json_body(headers: Mapping[bytes, bytes], receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises UnsupportedMediaType or PayloadTooLarge, the latter before reading where it can."""
    content_type = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if content_type != b"application/json" and not content_type.endswith(b"+json"):
        raise UnsupportedMediaType("Send the body as application/json.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and (len(length) > 18 or int(length) > max_bytes):
        raise PayloadTooLarge(f"The body may have at most {max_bytes} bytes.")
    chunks, num_bytes = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunks.append(message.get("body", b""))
        num_bytes += len(chunks[-1])
        if num_bytes > max_bytes:
            raise PayloadTooLarge(f"The body may have at most {max_bytes} bytes.")
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def until_client_leaves(receive: Receive, exchange: Exchange, work: Awaitable[None]) -> None:
    """Run `work`, and cancel it as soon as the client disconnects, so that its engine stops too."""
    task = asyncio.current_task()
    assert task is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if not has_left:
            raise
        task.uncancel()
        exchange.outcome = "client_left"
    finally:
        watching.cancel()


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
