"""What still runs when a gateway's grace is over ends in an error event."""

from __future__ import annotations

import asyncio
import json

import pytest

from catalog.errors import UpstreamError
from deployments.gateway.departure import MARGIN_S, POLL_S, Departure
from deployments.gateway.exchange import EVENT_STREAM, Reply
from tests.unit.builders import report, settle
from tests.unit.deployments.gateway.conftest import GatewayUnderTest


async def test_a_request_that_ends_by_itself_is_left_alone() -> None:
    departure = Departure()
    async with departure.in_time():
        pass
    await departure.follow(lambda: 0.0)


async def test_a_timeout_of_something_else_is_no_departure() -> None:
    with pytest.raises(TimeoutError):
        async with Departure().in_time():
            raise TimeoutError


async def test_requests_end_shortly_before_the_grace_is_over() -> None:
    departure, slept_s, grace = Departure(), [], iter([None, None, 10.0])

    async def sleep(time_s: float) -> None:
        slept_s.append(time_s)

    async def request() -> None:
        async with departure.in_time():
            await asyncio.Event().wait()

    running = asyncio.create_task(request())
    await settle()
    await departure.follow(lambda: next(grace), sleep)
    with pytest.raises(UpstreamError, match="being replaced"):
        await running
    assert slept_s == [POLL_S, POLL_S, 10 - MARGIN_S]
    assert departure.is_leaving


async def test_a_stream_ends_in_exactly_one_error_event(gateway: GatewayUnderTest) -> None:
    async def begin(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: {}\n\n")
        await asyncio.Event().wait()

    gateway.relay.script = [begin]
    await gateway.publish(report())
    answer = asyncio.create_task(gateway.chat(stream=True))
    await settle()
    await gateway.departure.follow(lambda: 0.0)
    first, last, end = (await answer).text.split("\n\n")
    assert (first, end) == ("data: {}", "")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_error"
