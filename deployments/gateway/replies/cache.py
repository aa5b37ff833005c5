"""The response cache: an answer that can only be the same again is given again, and computed once for all who ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from catalog.cache import CacheSettings
from deployments.gateway.exchange import Exchange, Reply
from deployments.gateway.metrics import GatewayMetrics
from deployments.gateway.replies.flight import Flight, Recording
from deployments.gateway.replies.kept import KeptReply
from deployments.gateway.replies.store import ReplyStore
from deployments.wire import Usage
from router.caching import has_ended_well

CACHE_HEADER = "x-raymux-cache"
_NOTHING = Usage(0, 0)

Work = Callable[[Exchange, Reply], Awaitable[None]]


class ResponseCache:
    """Answers by key. A store that fails is a miss, never an error."""

    def __init__(self, store: ReplyStore, settings: CacheSettings, metrics: GatewayMetrics) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._flights: dict[str, Flight] = {}

    async def answer(self, key: str, exchange: Exchange, reply: Reply, work: Work) -> None:
        """Answer from the cache, or from the same work of another request that is under way, or by working."""
        model = exchange.model or ""
        kept = await self._find(key)
        if kept is not None:
            self._metrics.cache_hit(model)
            # Nobody has worked for it, so it costs no tokens.
            exchange.usage = _NOTHING
            exchange.headers[CACHE_HEADER] = "hit"
            await kept.send(reply)
            return
        self._metrics.cache_missed(model)
        exchange.headers[CACHE_HEADER] = "miss"
        flight = self._flights.get(key)
        if flight is None:
            flight = self._begin(key, exchange, work)
        else:
            exchange.usage = _NOTHING
        await flight.follow(exchange, reply)

    async def _find(self, key: str) -> KeptReply | None:
        if key in self._flights:
            return None
        value = await self._store.get(key)
        return None if value is None else KeptReply.decode(value)

    def _begin(self, key: str, exchange: Exchange, work: Work) -> Flight:
        recording = Recording(exchange)

        model = exchange.model

        async def run() -> None:
            try:
                await work(exchange, recording)
                # A stand-in's answer is not this model's.
                if exchange.model == model:
                    await self._keep(key, recording)
            finally:
                del self._flights[key]

        flight = self._flights[key] = Flight(recording, run)
        return flight

    async def _keep(self, key: str, recording: Recording) -> None:
        kept = recording.kept()
        if kept is None or kept.status != 200 or len(kept.body) > self._settings.max_entry_bytes:
            return
        if not kept.is_stream or has_ended_well(kept.body):
            await self._store.put(key, kept.encode(), self._settings.ttl_s)
