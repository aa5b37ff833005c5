"""An inference request's way through the gateway, step by step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from catalog.catalog import Target
from catalog.errors import DeadlineExceeded, PayloadTooLarge, QueueFull, ServiceError, UnsupportedMediaType
from catalog.models import Task
from deployments.gateway.dispatch import Job, text_of
from deployments.gateway.exchange import ClientLeft, Exchange, Reply
from deployments.gateway.lookout import Prompt
from deployments.gateway.services import Services
from router.body import Peek, peek, with_model
from router.caching import answer_key, is_deterministic
from router.endpoints import Endpoint
from router.limits import estimate_tokens
from router.resolve import resolve
from router.variants import eligible, preferred_shapes

logger = logging.getLogger("ray.serve")


class Inference:
    """The ASGI app behind one inference endpoint."""

    def __init__(self, endpoint: Endpoint, services: Services) -> None:
        self._endpoint = endpoint
        self._fleet = services.fleet
        self._dispatcher = services.dispatcher
        self._providers = services.providers
        self._settings = services.settings
        self._limits = services.limits
        self._admission = services.admission
        self._cache = services.cache
        self._idempotency = services.idempotency
        self._departure = services.departure

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is read."""
        return self._settings().max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        body = await read_json_body(headers, receive, self.max_body_bytes)
        await self.answer(body, headers, scope["exchange"], scope["reply"], receive)

    async def answer(
        self, body: bytes, headers: Mapping[bytes, bytes], exchange: Exchange, reply: Reply, receive: Receive
    ) -> None:
        """Have a body answered, as if it had come to this endpoint; until the client leaves, which `receive` tells.

        Raises RaymuxError.
        """
        wish = peek(body)
        target = self._resolve(wish, exchange)
        if wish.model is None and self._endpoint.needs_model:
            body = with_model(body, target.name)
        shapes = preferred_shapes(text_of(headers, b"x-gpu-preference"), wish.gpu_preference)
        job = Job(
            self._endpoint, target, eligible(target, shapes), bool(shapes), body, headers, wish.stream, exchange, reply
        )
        generates = self._endpoint.task is Task.GENERATE
        if generates and self._settings().replica_choice == "first_token":
            job.prompt = Prompt(wish.fields, exchange.caller.tenant, is_stream=wish.stream)
        tokens = estimate_tokens(len(body), wish.max_tokens if generates else 0)
        async with self._departure.in_time(), self._limits.taken(exchange, self._endpoint.path, tokens):
            await until_client_leaves(receive, exchange, self._once(job, tokens, wish.fields, shapes))

    def _resolve(self, wish: Peek, exchange: Exchange) -> Target:
        default = getattr(self._settings().defaults, self._endpoint.default)
        target = resolve(
            self._fleet.catalog, wish.model, default, self._endpoint, self._fleet.promoted, exchange.caller
        )
        exchange.model = target.name
        return target

    async def _once(self, job: Job, tokens: int, fields: dict[str, Any], shapes: tuple[str, ...]) -> None:
        """As the Idempotency-Key says, if there is one."""
        key = text_of(job.headers, b"idempotency-key")
        if key is None:
            await self._cached(job, tokens, fields, shapes)
            return

        async def work(reply: Reply) -> None:
            await self._cached(replace(job, reply=reply), tokens, fields, shapes)

        await self._idempotency.answer(key, job.body, job.exchange, job.reply, work)

    async def _cached(self, job: Job, tokens: int, fields: dict[str, Any], shapes: tuple[str, ...]) -> None:
        """From the cache where there is one and the request has one answer only."""
        cache = self._cache()
        if cache is None or not is_deterministic(self._endpoint.path, fields) or _wants_no_cache(job.headers):
            await self._in_time(job, tokens)
            return

        async def work(exchange: Exchange, reply: Reply) -> None:
            await self._in_time(replace(job, exchange=exchange, reply=reply), tokens)

        # A preference for GPUs that came as a header is part of the question as well.
        question = {**fields, "gpu_preference": list(shapes)}
        key = answer_key(
            job.exchange.caller.tenant, job.target.name, job.target.versions, self._endpoint.path, question
        )
        await cache.answer(key, job.exchange, job.reply, work)

    async def _in_time(self, job: Job, tokens: int) -> None:
        """Raises DeadlineExceeded when the whole request takes longer than it may."""
        try:
            async with asyncio.timeout(self._settings().deadline_s):
                await self._with_fallbacks(job, tokens)
        except TimeoutError:
            raise DeadlineExceeded("The request took longer than this service allows.") from None

    async def _with_fallbacks(self, job: Job, tokens: int) -> None:
        """The model itself, then, while nothing of a reply has been sent, those that may stand in for it."""
        for name in job.target.fallbacks:
            try:
                await self._admit(job, tokens)
                return
            except (ServiceError, QueueFull) as error:
                stand_in = self._fleet.catalog.find(name)
                if stand_in is None or job.exchange.first_byte_ms is not None:
                    raise
                if not job.exchange.caller.may_use(stand_in.name):
                    raise
                logger.info("%s falls back to %s: %s", job.target.name, name, error.code)
                job = job.instead(stand_in)
        await self._admit(job, tokens)

    async def _admit(self, job: Job, tokens: int) -> None:
        if job.target.upstream is not None:
            await self._providers.send(job)
            return
        async with self._admission.admitted(job.target, job.variants, job.exchange, tokens, job.told):
            await self._dispatcher.send(job)


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


def _wants_no_cache(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client's `Cache-Control` forbids to keep an answer, or to give it a kept one."""
    return any(word in headers.get(b"cache-control", b"").lower() for word in (b"no-store", b"no-cache"))
