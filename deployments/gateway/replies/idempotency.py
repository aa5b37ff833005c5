"""`Idempotency-Key`: a request that is sent again gets the answer of the first one, instead of a second one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from catalog.errors import IdempotencyKeyReused, InvalidRequest, RaymuxError, RequestError, RequestInProgress
from deployments.gateway.exchange import Exchange, Reply
from deployments.gateway.replies.kept import KeptReply, TeeReply
from deployments.gateway.replies.store import ReplyStore
from deployments.wire import Usage

MAX_KEY_CHARS = 255
KEPT_S = 86_400.0
# A gateway that dies with a request leaves its mark for this long; one that lives renews it.
LEASE_S = 30.0
MAX_REPLY_BYTES = 4 * 1024 * 1024

_RUNNING = "running"


class Idempotency:
    """Answers by the caller's key. `store` is asked for each request, because a new configuration replaces it."""

    def __init__(self, store: Callable[[], ReplyStore]) -> None:
        self._store = store

    async def answer(
        self, key: str, body: bytes, exchange: Exchange, reply: Reply, work: Callable[[Reply], Awaitable[None]]
    ) -> None:
        """Work and keep the answer, or give the kept one again.

        Kept are replies of 2xx and errors that the same request would meet again (4xx, but for 409 and 429). Raises
        InvalidRequest for a key that is none, IdempotencyKeyReused for another body, RequestInProgress while the first
        request runs, and what the work raises.
        """
        name, digest = _name(key, exchange), hashlib.sha256(body).hexdigest()
        store = self._store()
        if not await store.claim(name, _mark(digest), LEASE_S):
            await self._again(store, name, digest, exchange, reply)
            return
        renewing = asyncio.create_task(_renew(store, name, digest))
        kept: KeptReply | None = None
        try:
            tee = TeeReply(reply, MAX_REPLY_BYTES)
            await work(tee)
            kept = tee.kept(digest)
        except RequestError as error:
            if error.status not in (409, 429) and not reply.has_begun:
                content = json.dumps(error.body(exchange.request_id)).encode()
                kept = KeptReply(error.status, "application/json", content, digest)
            raise
        finally:
            renewing.cancel()
            # A client that leaves must not leave the mark behind.
            await asyncio.shield(_settle(store, name, kept))

    async def _again(self, store: ReplyStore, name: str, digest: str, exchange: Exchange, reply: Reply) -> None:
        value = await store.get(name)
        kept = KeptReply.decode(value) if value is not None else None
        if kept is None:
            raise RequestInProgress("A request with this Idempotency-Key has just ended; try again.", retry_after_s=1)
        if kept.note != digest:
            raise IdempotencyKeyReused(
                "This Idempotency-Key came with another body before. Use a new key for a new request."
            )
        if kept.content_type == _RUNNING:
            raise RequestInProgress("A request with this Idempotency-Key is still running.", retry_after_s=2)
        exchange.headers["idempotent-replayed"] = "true"
        # Nobody has worked for it, so it costs no tokens.
        exchange.usage = Usage(0, 0)
        await kept.send(reply)


def _name(key: str, exchange: Exchange) -> str:
    if not 1 <= len(key) <= MAX_KEY_CHARS or not key.isascii() or not key.isprintable():
        raise InvalidRequest(f"Idempotency-Key must have from 1 to {MAX_KEY_CHARS} printable ASCII characters.")
    caller = exchange.caller
    parts = [caller.tenant, caller.key_id, exchange.endpoint, key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _mark(digest: str) -> bytes:
    return KeptReply(0, _RUNNING, b"", digest).encode()


async def _renew(store: ReplyStore, name: str, digest: str) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        await store.put(name, _mark(digest), LEASE_S)


async def _settle(store: ReplyStore, name: str, kept: KeptReply | None) -> None:
    with suppress(RaymuxError):
        if kept is None or not (200 <= kept.status < 300 or 400 <= kept.status < 500):
            await store.delete(name)
        else:
            await store.put(name, kept.encode(), KEPT_S)
