"""Rate limits that all gateways share: the windows of `router.limits` inside Redis, one round trip for each request."""

from __future__ import annotations

import math
from typing import Any

from deployments.gateway.limits import LocalWindows
from deployments.gateway.shared_redis import RedisUnavailable, SharedRedis
from router.limits import WINDOW_S, Amount, Ceiling, Verdict, verdict

# A window is a hash: i, the number of the minute; r and t, requests and tokens of it; R and T, of the minute before.
# Redis runs a script alone, so nothing comes between reading and writing, and its clock is the one of all gateways.
_WINDOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local size = tonumber(ARGV[1])
local minute = math.floor(now / size)
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local kept = redis.call('HMGET', KEYS[1], 'i', 'r', 't', 'R', 'T')
local index = tonumber(kept[1]) or minute
local running = {tonumber(kept[2]) or 0, tonumber(kept[3]) or 0}
local previous = {tonumber(kept[4]) or 0, tonumber(kept[5]) or 0}
if minute == index + 1 then
    previous, running = running, {0, 0}
elseif minute > index then
    previous, running = {0, 0}, {0, 0}
else
    minute = index
end
local function keep()
    redis.call('HSET', KEYS[1], 'i', minute, 'r', running[1], 't', running[2], 'R', previous[1], 'T', previous[2])
    redis.call('EXPIRE', KEYS[1], 3 * size)
end
"""

_TAKE = (
    _WINDOW
    + """
local elapsed = now % size
local function wait(before, used, cost, limit)
    if limit < 0 or cost == 0 then return 0 end
    cost = math.min(cost, limit)
    if before * (1 - elapsed / size) + used + cost <= limit then return 0 end
    local free = limit - cost
    if used <= free and before > 0 then return size * (1 - (free - used) / before) - elapsed end
    return size - elapsed + size * (1 - free / used)
end
local cost = {tonumber(ARGV[2]), tonumber(ARGV[3])}
local wait_s = math.max(
    wait(previous[1], running[1], cost[1], tonumber(ARGV[4])),
    wait(previous[2], running[2], cost[2], tonumber(ARGV[5])))
if wait_s == 0 then
    running = {running[1] + cost[1], running[2] + cost[2]}
    keep()
end
local function exact(number) return string.format('%.17g', number) end
return {exact(wait_s), exact(now), exact(previous[1]), exact(previous[2]), exact(running[1]), exact(running[2])}
"""
)

_CORRECT = (
    _WINDOW
    + """
local ago = minute - math.floor(tonumber(ARGV[3]) / size)
if ago == 0 then
    running[2] = math.max(0, running[2] + tonumber(ARGV[2]))
elseif ago == 1 then
    previous[2] = math.max(0, previous[2] + tonumber(ARGV[2]))
end
keep()
"""
)


class SharedWindows:
    """Windows in Redis; while it is away, each gateway counts for itself."""

    def __init__(self, redis: SharedRedis, local: LocalWindows | None = None) -> None:
        self._redis = redis
        self._local = local or LocalWindows()
        self._take = redis.script(_TAKE)
        self._correct = redis.script(_CORRECT)

    async def take(self, name: str, cost: Amount, ceiling: Ceiling) -> tuple[Verdict, float]:
        """Use `cost` if it is free."""
        limits = [-1 if limit is None else limit for limit in ceiling]
        try:
            values = await self._run(self._take, name, *cost, *limits)
            wait_s, now_s, *amounts = (float(value) for value in values)
        except (RedisUnavailable, TypeError, ValueError):
            return await self._local.take(name, cost, ceiling)
        if not all(map(math.isfinite, (wait_s, now_s, *amounts))):
            # Not what the script has ever written.
            return await self._local.take(name, cost, ceiling)
        previous, running = Amount(*amounts[:2]), Amount(*amounts[2:])
        return verdict(previous, running, ceiling, wait_s, now_s), now_s

    async def correct(self, name: str, tokens: float, taken_s: float) -> None:
        """Add tokens to what was taken then, or give them back."""
        try:
            await self._run(self._correct, name, tokens, taken_s)
        except RedisUnavailable:
            await self._local.correct(name, tokens, taken_s)

    async def _run(self, script: Any, name: str, *arguments: float) -> Any:
        key = f"{self._redis.prefix}limit:{name}"
        return await self._redis.call(lambda client: script(keys=[key], args=[WINDOW_S, *arguments], client=client))
