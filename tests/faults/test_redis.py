"""Redis, in which gateways share limits and cached answers, fails in every way. Nobody notices."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.faults.report import Report
from tests.faults.traffic import Traffic
from tests.redis_server import RedisServer
from tests.server import RunningServer, wait_until

FAULT_S = 3
# The gateway waits 0.1 s for Redis; the rest is for a crowded machine.
UNNOTICED_S = 2.0


def again(redis_server: RedisServer) -> None:
    """Start it anew, with nothing in it."""
    redis_server.start()


def overwrite(redis_server: RedisServer) -> None:
    """Put garbage of every type in the place of whatever is there, again and again."""
    client, end_s = redis_server.client, time.monotonic() + FAULT_S
    while time.monotonic() < end_s:
        for key in client.keys("raymux:*"):
            # At once, lest a gateway puts something of another type in between.
            change = client.pipeline(transaction=True).delete(key)
            match random.randrange(4):
                case 0:
                    change.set(key, random.randbytes(200))
                case 1:
                    change.hset(key, mapping={"i": "x", "r": "nan", "t": "1e999", "R": "\x00", "T": ""})
                case 2:
                    change.rpush(key, b"\xff\xfe")
                case 3:
                    change.set(key, b'raymux-reply-1 abc\n[200, "application/json", "", 3]\n{}')
            change.execute()
        time.sleep(0.02)


FAULTS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "killed": (RedisServer.stop, again),
    "hung": (RedisServer.freeze, RedisServer.thaw),
    "full": (RedisServer.fill, lambda redis_server: redis_server.client.config_set("maxmemory", "0")),
    "flushed": (lambda redis_server: redis_server.client.flushall(), lambda _: None),
    "filled with garbage": (overwrite, lambda _: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_redis_fails(server: RunningServer, redis_server: RedisServer, report: Report, fault: str) -> None:
    breaks, mends = FAULTS[fault]
    number = itertools.count()

    def fields() -> dict[str, Any]:
        """Deterministic requests, each asked a few times."""
        return {"temperature": 0, "seed": next(number) // 4}

    def is_in_use() -> bool:
        ready = httpx.get(f"{server.url}/ready").json()
        return ready["redis"] == "available" and bool(redis_server.client.keys("raymux:*"))

    with Traffic(server, "one", num_tokens=20, fields=fields) as traffic:
        traffic.warm()
        wait_until(is_in_use, 20, "Redis is in use")
        traffic.note_fault()
        breaks(redis_server)
        time.sleep(FAULT_S)
        mends(redis_server)
        wait_until(is_in_use, 30, "Redis is in use again")
        traffic.recover()
    report.add(f"Redis {fault}", traffic)
    assert not traffic.wrong
    assert not traffic.failures
    assert traffic.slowest_first_byte_s < UNNOTICED_S
