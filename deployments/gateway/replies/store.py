"""Where kept replies are: in this gateway's memory, or in Redis for all of them. No pickle: values are bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from cachetools import LRUCache

from deployments.gateway.shared_redis import RedisUnavailable, SharedRedis


class ReplyStore(Protocol):
    """Bytes by key, each for a time."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, ttl_s: float) -> None: ...

    async def claim(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Put it unless there is something; whether it was put."""
        ...

    async def delete(self, key: str) -> None: ...


class MemoryStore:
    """At most `max_bytes`; the least recently used leave."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: LRUCache[str, tuple[float, bytes]] = LRUCache(
            max_bytes, getsizeof=lambda each: len(each[1]) + 200
        )

    async def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        if found[0] <= self._clock():
            self._values.pop(key, None)
            return None
        return found[1]

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if _size((0.0, value)) <= self._values.maxsize:
            self._values[key] = (self._clock() + ttl_s, value)

    async def claim(self, key: str, value: bytes, ttl_s: float) -> bool:
        if await self.get(key) is not None:
            return False
        await self.put(key, value, ttl_s)
        return True

    async def delete(self, key: str) -> None:
        self._values.pop(key, None)


def _size(entry: tuple[float, bytes]) -> int:
    """Bytes in memory: the value, and about as much as key and bookkeeping take."""
    return len(entry[1]) + 200


class RedisStore:
    """In Redis under a kind of key; while it is away, what `spare` holds."""

    def __init__(self, redis: SharedRedis, kind: str, spare: ReplyStore) -> None:
        self._redis = redis
        self._kind = kind
        self._spare = spare

    def _name(self, key: str) -> str:
        return f"{self._redis.prefix}{self._kind}:{key}"

    async def get(self, key: str) -> bytes | None:
        try:
            value = await self._redis.call(lambda client: client.get(self._name(key)))
        except RedisUnavailable:
            return await self._spare.get(key)
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        try:
            await self._redis.call(lambda client: client.set(self._name(key), value, px=int(ttl_s * 1000)))
        except RedisUnavailable:
            await self._spare.put(key, value, ttl_s)

    async def claim(self, key: str, value: bytes, ttl_s: float) -> bool:
        try:
            done = await self._redis.call(
                lambda client: client.set(self._name(key), value, px=int(ttl_s * 1000), nx=True)
            )
        except RedisUnavailable:
            return await self._spare.claim(key, value, ttl_s)
        return bool(done)

    async def delete(self, key: str) -> None:
        await self._spare.delete(key)
        try:
            await self._redis.call(lambda client: client.delete(self._name(key)))
        except RedisUnavailable:
            return
