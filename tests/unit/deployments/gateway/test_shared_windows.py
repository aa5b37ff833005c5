"""Limits in a real Redis: the same arithmetic, shared by gateways, and nobody hurt when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from catalog.redis import RedisSettings
from deployments.gateway.limits import LocalWindows
from deployments.gateway.shared_redis import RedisUnavailable, SharedRedis
from deployments.gateway.shared_windows import SharedWindows
from router.limits import Amount, Ceiling, Window
from tests.redis_server import RedisServer
from tests.unit.builders import report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_guard import USER, headers, key

SETTINGS = RedisSettings(timeout_s=0.2)
LIMIT = Ceiling(5, 1000)


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.client.flushall()
    return running


@pytest.fixture
async def shared(server: RedisServer) -> AsyncIterator[SharedRedis]:
    redis = SharedRedis(server.url, SETTINGS)
    yield redis
    await redis.close()


async def test_what_redis_computes_is_what_the_window_computes(shared: SharedRedis) -> None:
    windows, window = SharedWindows(shared), Window()
    ceiling = Ceiling(7, 500)
    for tokens in (10, 100, 0, 250, 60, 100, 90, 1, 1, 1):
        cost = Amount(1, tokens)
        verdict, now_s = await windows.take("a", cost, ceiling)
        expected = window.take(cost, ceiling, now_s)
        assert verdict == pytest.approx(expected)
        await windows.correct("a", -5, now_s)
        window.correct(-5, now_s, now_s)


@pytest.mark.parametrize(("minutes_ago", "kept"), [(0, (3, 70, 9, 900)), (1, (3, 70, 9, 900)), (3, (3, 70, 9, 900))])
async def test_older_minutes_move_on_as_in_the_window(
    server: RedisServer, shared: SharedRedis, minutes_ago: int, kept: tuple[int, int, int, int]
) -> None:
    index = int(server.client.time()[0] // 60) - minutes_ago
    names = ("r", "t", "R", "T")
    server.client.hset("raymux:limit:a", mapping={"i": index, **dict(zip(names, kept, strict=True))})
    window = Window(index, Amount(*kept[:2]), Amount(*kept[2:]))
    verdict, now_s = await SharedWindows(shared).take("a", Amount(1, 40), LIMIT)
    assert verdict == pytest.approx(window.take(Amount(1, 40), LIMIT, now_s))


async def test_two_gateways_share_one_limit_to_the_request(server: RedisServer) -> None:
    gateways = [SharedRedis(server.url, RedisSettings(timeout_s=5)) for _ in range(2)]
    takes = [SharedWindows(redis).take("a", Amount(1, 0), Ceiling(50, None)) for _ in range(60) for redis in gateways]
    admitted = [verdict.is_admitted for verdict, _ in await asyncio.gather(*takes)]
    assert admitted.count(True) == 50
    for redis in gateways:
        await redis.close()


async def test_windows_do_not_stay_for_ever(server: RedisServer, shared: SharedRedis) -> None:
    await SharedWindows(shared).take("a", Amount(1, 0), LIMIT)
    assert 0 < server.client.ttl("raymux:limit:a") <= 180


@pytest.mark.parametrize("garbage", ["text", {"i": "x", "r": "nan", "t": "", "R": "{}", "T": "1e999"}])
async def test_garbage_is_not_a_limit(server: RedisServer, shared: SharedRedis, garbage: str | dict[str, str]) -> None:
    if isinstance(garbage, str):
        server.client.set("raymux:limit:a", garbage)
    else:
        server.client.hset("raymux:limit:a", mapping=garbage)
    verdict, _ = await SharedWindows(shared).take("a", Amount(1, 0), LIMIT)
    assert verdict.is_admitted


async def test_a_gateway_goes_on_with_limits_of_its_own_while_redis_is_away() -> None:
    with RedisServer() as server:
        now_s = 0.0
        redis = SharedRedis(server.url, SETTINGS, lambda: now_s)
        windows = SharedWindows(redis, LocalWindows())

        async def admitted(number: int) -> int:
            verdicts = [(await windows.take("a", Amount(1, 0), LIMIT))[0] for _ in range(number)]
            return sum(verdict.is_admitted for verdict in verdicts)

        assert await admitted(10) == 5
        server.freeze()
        begun_s = time.monotonic()
        assert await admitted(100) == 5
        # One timeout, not a hundred of them.
        assert time.monotonic() - begun_s < 1
        assert not redis.is_available
        server.thaw()
        now_s += 2
        assert await admitted(10) == 0
        assert redis.is_available
        server.fill()
        assert (await windows.take("b", Amount(1, 0), LIMIT))[0].is_admitted
        assert not redis.is_available
        server.stop()
        assert (await windows.take("c", Amount(1, 0), LIMIT))[0].is_admitted
        await windows.correct("c", -5, 0.0)
        server.start()
        await redis.close()


async def test_a_server_that_is_not_there_is_told_from_one_that_is(shared: SharedRedis) -> None:
    async def ping(client) -> bool:
        return await client.ping()

    assert await shared.call(ping)
    nowhere = SharedRedis("redis://127.0.0.1:1/0", SETTINGS)
    with pytest.raises(RedisUnavailable):
        await nowhere.call(ping)
    assert not nowhere.is_available
    await nowhere.close()


async def test_requests_are_served_and_ready_tells_while_redis_is_away(gateway: GatewayUnderTest) -> None:
    from router.keys import Keyring

    gateway.keyring = Keyring([key("user", USER)])
    gateway.redis = SharedRedis("redis://127.0.0.1:1/0", SETTINGS)
    gateway.windows = SharedWindows(gateway.redis)
    await gateway.publish(report("r1"))
    assert (await gateway.get("/ready")).json()["redis"] == "available"
    reply = await gateway.chat(headers(USER))
    assert reply.status_code == 200
    assert reply.headers["x-ratelimit-remaining-requests"] == "599"
    assert (await gateway.get("/ready")).json()["redis"] == "unavailable"
    await gateway.redis.close()
