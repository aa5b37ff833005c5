from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployments.engine.merge import MAX_INTERVAL_S, MergedSend, write_interval_s
from tests.unit.builders import until

NEVER_S = 3600.0


class Writes:
    """An ASGI `send` that notes each body; it waits while it may not pass."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.bodies: list[bytes] = []
        self.has_ended = False
        self.may_pass = asyncio.Event()
        self.may_pass.set()
        self.error: Exception | None = None

    async def __call__(self, message: Any) -> None:
        self.num_calls += 1
        await self.may_pass.wait()
        if self.error is not None:
            raise self.error
        assert not self.has_ended
        self.bodies.append(message["body"])
        self.has_ended = not message["more_body"]


def event(number: int) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True}


def end(body: bytes = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": False}


def test_a_single_stream_keeps_its_own_pace() -> None:
    assert write_interval_s(1) < 0.001


def test_the_interval_grows_with_the_load_up_to_a_bound() -> None:
    intervals = [write_interval_s(number) for number in range(1000)]
    assert intervals == sorted(intervals)
    assert intervals[-1] == MAX_INTERVAL_S


async def test_the_first_event_is_never_held_back() -> None:
    writes = Writes()
    await MergedSend(writes, lambda: NEVER_S)(event(1))
    assert writes.bodies == [b"data: 1\n\n"]


async def test_later_events_wait_for_each_other_and_go_out_in_one_write() -> None:
    writes, interval_s = Writes(), 0.001
    send = MergedSend(writes, lambda: interval_s)
    for number in range(4):
        await send(event(number))
    assert len(writes.bodies) == 1
    await until(lambda: len(writes.bodies) == 2)
    assert b"".join(writes.bodies) == b"".join(event(number)["body"] for number in range(4))


async def test_the_end_takes_along_what_is_held() -> None:
    writes = Writes()
    send = MergedSend(writes, lambda: NEVER_S)
    for number in range(3):
        await send(event(number))
    await send(end(b"data: [DONE]\n\n"))
    assert writes.bodies == [b"data: 0\n\n", b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"]
    assert writes.has_ended


@pytest.mark.parametrize("interval_s", [0.0, 0.0005, 0.002, NEVER_S])
async def test_no_event_is_lost_or_changed_or_moved(interval_s: float) -> None:
    writes = Writes()
    send = MergedSend(writes, lambda: interval_s)
    for number in range(200):
        await send(event(number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await send(end())
    send.close()
    assert b"".join(writes.bodies) == b"".join(event(number)["body"] for number in range(200))
    assert writes.has_ended


async def test_a_slow_reader_holds_the_app_back() -> None:
    writes = Writes()
    send = MergedSend(writes, lambda: 0.001)
    await send(event(0))
    writes.may_pass.clear()
    await send(event(1))
    await until(lambda: writes.num_calls == 2)
    blocked = asyncio.create_task(send(event(2)))
    await asyncio.sleep(0)
    assert not blocked.done()
    writes.may_pass.set()
    await blocked


async def test_a_broken_connection_reaches_the_app() -> None:
    writes = Writes()
    send = MergedSend(writes, lambda: 0.001)
    await send(event(0))
    writes.error = OSError("gone")
    await send(event(1))
    await until(lambda: writes.num_calls == 2)
    with pytest.raises(OSError, match="gone"):
        await send(event(2))


async def test_nothing_is_written_after_a_stream_that_was_broken_off() -> None:
    writes = Writes()
    send = MergedSend(writes, lambda: 0.001)
    await send(event(0))
    await send(event(1))
    send.close()
    later = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.002, later.set_result, None)
    await later
    assert writes.bodies == [b"data: 0\n\n"]
