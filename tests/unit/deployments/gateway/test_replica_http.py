from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from deployments.gateway import replica_http
from deployments.gateway.replica_http import MAX_UNREAD_BYTES, BrokenOff, Connection, NotConnected, ReplicaHttp
from tests.unit.builders import until
from tests.unit.deployments.gateway.scripted_replica import Replica, chunk, head, pieces, stream_head, whole


@pytest.fixture
async def http() -> AsyncIterator[ReplicaHttp]:
    http = ReplicaHttp(connect_timeout_s=5)
    yield http
    await http.close()


async def body_of(http: ReplicaHttp, replica: Replica) -> bytes:
    """The whole body of one reply."""
    body = b""
    async with http.request(b"POST", replica.report.address, "/x", {}, b"{}") as response:
        while piece := await response.read():
            body += piece
    return body


class Wire:
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        self.written = b""
        self.is_paused = self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def abort(self) -> None:
        self.is_closed = True


def connection_that_has_sent() -> tuple[Connection, Wire]:
    connection, wire = Connection(), Wire()
    connection.connection_made(wire)  # type: ignore[arg-type]
    connection.send(b"a request")
    return connection, wire


async def test_a_reply_is_the_same_wherever_packets_end() -> None:
    reply = stream_head() + chunk(b"data: 1\n\n") + chunk(b"data: two\n\n") + b"0\r\n\r\n"
    for cut in range(1, len(reply)):
        connection, _ = connection_that_has_sent()
        connection.data_received(reply[:cut])
        connection.data_received(reply[cut:])
        await connection.head()
        body = b""
        while piece := await connection.read():
            body += piece
        assert (connection.status, body) == (200, b"data: 1\n\ndata: two\n\n")
        assert connection.headers == {b"content-type": b"text/event-stream", b"transfer-encoding": b"chunked"}
        assert connection.is_reusable


async def test_the_pieces_that_came_in_one_packet_are_read_at_once() -> None:
    connection, _ = connection_that_has_sent()
    connection.data_received(stream_head() + chunk(b"1") + chunk(b"2"))
    assert await connection.read() == b"12"


async def test_a_reader_that_does_not_come_stops_what_is_sent() -> None:
    connection, wire = connection_that_has_sent()
    connection.data_received(stream_head() + chunk(b"x" * MAX_UNREAD_BYTES))
    assert not wire.is_paused
    connection.data_received(chunk(b"y"))
    assert wire.is_paused
    assert await connection.read() == b"x" * MAX_UNREAD_BYTES + b"y"
    assert not wire.is_paused


async def test_what_came_before_the_connection_broke_can_be_read() -> None:
    connection, _ = connection_that_has_sent()
    connection.data_received(stream_head() + chunk(b"data: 1\n\n"))
    connection.connection_lost(None)
    assert await connection.read() == b"data: 1\n\n"
    with pytest.raises(BrokenOff):
        await connection.read()


async def test_what_is_not_http_breaks_off() -> None:
    connection, wire = connection_that_has_sent()
    connection.data_received(b"SSH-2.0-OpenSSH_9.6\r\n")
    assert wire.is_closed
    with pytest.raises(BrokenOff):
        await connection.head()


async def test_a_reply_that_nobody_asked_for_ends_the_connection_and_changes_nothing() -> None:
    reply = head(content_type="text/plain", content_length="2") + b"ok"
    connection, wire = connection_that_has_sent()
    connection.data_received(reply + head("500 Oops", content_length="0"))
    assert wire.is_closed
    await connection.head()
    assert (connection.status, await connection.read(), await connection.read()) == (200, b"ok", b"")
    assert not connection.is_reusable


async def test_connections_are_used_one_after_another_and_not_at_the_same_time(http: ReplicaHttp) -> None:
    async with Replica(whole(b"ok")) as replica:
        assert await body_of(http, replica) == await body_of(http, replica) == b"ok"
        assert replica.num_connections == 1
        async with http.request(b"POST", replica.report.address, "/x", {}):
            await body_of(http, replica)
        assert replica.num_connections == 2


async def test_a_connection_that_the_replica_is_about_to_close_is_not_used_again(http: ReplicaHttp) -> None:
    async with Replica(whole(b"ok", connection="close")) as replica:
        for number in (1, 2):
            assert await body_of(http, replica) == b"ok"
            assert replica.num_connections == number


async def test_a_connection_that_has_ended_while_it_was_idle_is_not_used_again(http: ReplicaHttp) -> None:
    script = pieces(head(content_type="text/plain", content_length="2") + b"ok")
    async with Replica(script) as replica:
        for number in (1, 2):
            async with http.request(b"POST", replica.report.address, "/x", {}) as response:
                assert await response.read() == b"ok"
            await until(lambda connection=response: not connection.is_reusable)
            assert replica.num_connections == number


async def test_a_block_that_ends_before_the_reply_does_closes_the_connection(http: ReplicaHttp) -> None:
    async with Replica(whole(b"x" * 10)) as replica:
        async with http.request(b"POST", replica.report.address, "/x", {}):
            pass
        await replica.client_has_left.wait()


async def test_a_request_that_is_cancelled_while_it_waits_closes_the_connection(http: ReplicaHttp) -> None:
    async def silence(writer: asyncio.StreamWriter) -> bool:
        # The connection's end is noticed by the next read.
        return True

    async with Replica(silence) as replica:
        waiting = asyncio.create_task(body_of(http, replica))
        await until(lambda: replica.requests)
        waiting.cancel()
        await replica.client_has_left.wait()


async def test_a_connection_is_closed_before_the_replica_would_close_it(
    http: ReplicaHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Replica(whole(b"ok")) as replica:
        await body_of(http, replica)
        now_s = time.monotonic() + replica_http.MAX_IDLE_S + 1
        monkeypatch.setattr(replica_http.time, "monotonic", lambda: now_s)
        await body_of(http, replica)
        assert replica.num_connections == 2


async def test_connections_that_nobody_needs_any_more_are_closed(
    http: ReplicaHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_http, "MAX_IDLE_S", 0.001)
    async with Replica(whole(b"ok")) as replica:
        await body_of(http, replica)
        await replica.client_has_left.wait()


async def test_a_header_cannot_bring_another_one_along(http: ReplicaHttp) -> None:
    async with Replica(whole(b"ok")) as replica:
        with pytest.raises(ValueError, match="line break"):
            async with http.request(b"POST", replica.report.address, "/x", {b"accept": b"a\r\nx-raymux-secret: s"}):
                pass
        assert replica.num_connections == 0


async def test_an_address_where_nobody_listens_gets_no_request(http: ReplicaHttp) -> None:
    async with Replica(whole(b"ok")) as replica:
        address = replica.report.address
    with pytest.raises(NotConnected):
        async with http.request(b"POST", address, "/x", {}):
            pass


async def test_an_address_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(NotConnected):
        async with ReplicaHttp(connect_timeout_s=0.01).request(b"POST", "[::1]:1", "/x", {}):
            pass
