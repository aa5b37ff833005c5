"""The store in Redis: a hash for each kind, and in it each record as the JSON of when it came and what it is.

It is as durable as the server: one with `appendonly yes` and `appendfsync always` loses nothing that was acknowledged.
Where an answer does not come in time, a change may have been made all the same; to make it once more does no harm.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from catalog.errors import StoreUnavailable
from catalog.redis import StoreRedisSettings
from deployments.manager.store import NOT_STORED, Kind, Record, Store

logger = logging.getLogger("ray.serve")

_T = TypeVar("_T")


class RedisStore(Store):
    """The records under the prefix of `settings`, which no other raymux may use."""

    def __init__(self, url: str, settings: StoreRedisSettings) -> None:
        self._prefix = settings.key_prefix
        self._timeout_s = settings.timeout_s
        # Changes of one record may be asked for at once, and take effect in that order.
        self._writing = asyncio.Lock()
        self._client: Redis = Redis.from_url(
            url, socket_timeout=settings.timeout_s, socket_connect_timeout=settings.timeout_s, retry=None
        )

    async def read(self, kind: Kind) -> dict[str, Any]:
        reading = cast(Awaitable[dict[bytes, bytes]], self._client.hgetall(self._key(kind)))
        found: list[tuple[int, str, Any]] = []
        for name, text in (await self._run(reading)).items():
            try:
                came_ns, value = json.loads(text)
                found.append((int(came_ns), name.decode(), value))
            except (ValueError, TypeError):
                logger.error("a record of kind %s in Redis is not raymux's; it is left out", kind)
        return {name: value for _, name, value in sorted(found, key=lambda each: each[:2])}

    async def write(self, *records: Record) -> None:
        changes = self._client.pipeline(transaction=True)
        for number, (kind, name, value) in enumerate(records):
            if value is None:
                changes.hdel(self._key(kind), name)
            else:
                changes.hset(self._key(kind), name, json.dumps([time.time_ns() + number, value]))
        # A caller that leaves must not leave a change half awaited.
        await asyncio.shield(self._execute(changes))

    async def _execute(self, changes: Pipeline) -> None:
        async with self._writing:
            await self._run(changes.execute())

    def _key(self, kind: Kind) -> str:
        return f"{self._prefix}store:{kind}"

    async def _run(self, operation: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await operation
        except (RedisError, OSError, TimeoutError) as error:
            logger.error("the store in Redis failed: %s", type(error).__name__)
            raise StoreUnavailable(NOT_STORED) from None
