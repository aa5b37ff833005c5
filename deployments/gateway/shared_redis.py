"""The gateway's line to Redis. Redis is a convenience: when it fails, the caller goes on without it at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from catalog.redis import RedisSettings
from router.breaker import Breaker, BreakerRules

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

# One failure is enough: a server that hangs must cost one request its timeout, and not each of them.
_RULES = BreakerRules(failures_to_open=1, open_s=1.0, max_open_s=8.0)


class RedisUnavailable(Exception):
    """Redis did not answer, answered badly, or is being left alone after it did so."""


class SharedRedis:
    """One client with a circuit breaker around each of its calls."""

    def __init__(self, url: str, settings: RedisSettings, clock: Callable[[], float] = time.monotonic) -> None:
        # Only now: a gateway without it starts a tenth of a second sooner.
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        self.prefix = settings.key_prefix
        self._failures = (RedisError, OSError, TimeoutError, ValueError)
        self._timeout_s = settings.timeout_s
        self._clock = clock
        self._breaker = Breaker(_RULES)
        self._is_failing = False
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            # Its own retries would multiply the wait.
            retry=None,
            health_check_interval=0,
            max_connections=256,
        )

    @property
    def is_available(self) -> bool:
        """Whether the last call went well, or none was made yet."""
        return not self._is_failing

    async def call(self, operation: Callable[[Redis], Awaitable[T]]) -> T:
        """What an operation on the client returns. Raises RedisUnavailable, after at most `timeout_s`."""
        now_s = self._clock()
        if not self._breaker.allows(now_s):
            raise RedisUnavailable
        is_probe = self._breaker.begin(now_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await operation(self._client)
        except self._failures as error:
            if self._breaker.failed(self._clock(), is_probe=is_probe) and not self._is_failing:
                logger.warning("Redis does not answer (%s); going on without it", type(error).__name__)
            self._is_failing = True
            raise RedisUnavailable from error
        except BaseException:
            self._breaker.ended(is_probe=is_probe)
            raise
        if self._is_failing:
            logger.warning("Redis answers again")
        self._is_failing = False
        self._breaker.succeeded()
        return result

    def script(self, lua: str) -> Any:
        """A Lua script that is sent once and then called by its hash."""
        return self._client.register_script(lua)

    async def close(self) -> None:
        await self._client.aclose()
