"""Ten times more load than a model can take: it goes on at full speed, and the rest is refused at once."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles
from typing import NamedTuple

import aiohttp
import pytest

from tests.faults.processes import footprint
from tests.faults.report import Report, Row
from tests.integration.calls import ADMIN_KEY, USER_KEY, body, chat
from tests.server import RunningServer

CAPACITY_PER_S = 20
OVERLOAD_S = 20


class Sent(NamedTuple):
    at_s: float
    took_s: float
    status: int
    has_retry_after: bool


class Load:
    """Requests to the narrow model, sent at a fixed rate whatever becomes of them."""

    def __init__(self, server: RunningServer, session: aiohttp.ClientSession) -> None:
        self._url = f"{server.url}/v1/chat/completions"
        self._session = session
        self.sent: list[Sent] = []

    async def one(self, secret: str = ADMIN_KEY) -> int:
        begun_s = time.monotonic()
        headers = {"authorization": f"Bearer {secret}"}
        async with self._session.post(self._url, json=body("narrow", 20), headers=headers) as reply:
            await reply.read()
            took_s = time.monotonic() - begun_s
            self.sent.append(Sent(begun_s, took_s, reply.status, "retry-after" in reply.headers))
            return reply.status

    async def at_rate(self, per_s: float, duration_s: float) -> None:
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for index in range(int(per_s * duration_s)):
                await asyncio.sleep(max(0.0, begun_s + index / per_s - time.monotonic()))
                tasks.create_task(self.one())


async def goodput(load: Load, num_clients: int, duration_s: float) -> float:
    """Answers a second to as many clients as there is room for, each of which sends when it has its answer."""
    end_s = time.monotonic() + duration_s
    load.sent.clear()

    async def client() -> None:
        while time.monotonic() < end_s:
            await load.one()

    await asyncio.gather(*(client() for _ in range(num_clients)))
    return len(load.sent) / duration_s


# Serve's Python proxy takes about as many requests a second as this sends, so there refusals wait before it.
@pytest.mark.haproxy
async def test_ten_times_the_load_costs_no_goodput_and_is_refused_at_once(
    server: RunningServer, report: Report
) -> None:
    chat(server, "narrow")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = Load(server, session)
        peak_per_s = await goodput(load, num_clients=8, duration_s=4)
        load.sent.clear()
        before = footprint(server)
        overload = asyncio.create_task(load.at_rate(10 * CAPACITY_PER_S, OVERLOAD_S))
        await asyncio.sleep(OVERLOAD_S / 2)
        # Meanwhile another tenant is not starved by the flood.
        assert await load.one(USER_KEY) == 200
        await overload
        statuses = {each.status for each in load.sent}
        served = [each for each in load.sent if each.status == 200]
        refused = [each for each in load.sent if each.status == 429]
        assert statuses == {200, 429}
        print(f"peak {peak_per_s:.1f}/s, under overload {len(served) / OVERLOAD_S:.1f}/s, {len(refused)} refused")
        assert len(served) / OVERLOAD_S >= 0.8 * peak_per_s
        at_once = [each.took_s for each in refused]
        assert quantiles(at_once, n=20)[18] < 0.1, f"p95 of refusals is {quantiles(at_once, n=20)[18]:.3f} s"
        assert all(each.has_retry_after for each in refused)
        # What was queued has ended, and the next request meets an idle model.
        begun_s = time.monotonic()
        while await load.one() != 200 or load.sent[-1].took_s > 0.5:
            assert time.monotonic() - begun_s < 5
        recovery_s = time.monotonic() - begun_s
    fault = f"ten times more load than capacity, for {OVERLOAD_S} s"
    slowest_s = max(each.took_s for each in served)
    report.rows.append(Row(fault, len(served) + len(refused), len(refused), 0, recovery_s, slowest_s))
    status = server.wait_for("narrow", lambda status: status["num_running"] == 0, 5, "is idle")
    assert len(status["replicas"]) == 1
    before.require_flat(server)
