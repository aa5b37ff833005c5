"""Clients that leave at every stage, that never read, and that send a byte every ten seconds."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.processes import footprint
from tests.faults.report import Report
from tests.faults.traffic import Traffic
from tests.integration.calls import body, chat
from tests.server import RunningServer, wait_until

LEAVERS = 40
READERS_THAT_STOP = 4
SLOW_SENDERS = 40
SLOW_S = 20
SLOW_INTERVAL_S = 10


def request(server: RunningServer, model: str, num_tokens: int, **more: object) -> bytes:
    """A streaming request as it goes over the wire."""
    content = json.dumps(body(model, num_tokens, stream=True, **more)).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: raymux",
        *(f"{name}: {value}" for name, value in server.headers.items()),
        "content-type: application/json",
        f"content-length: {len(content)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def reset(connection: socket.socket) -> None:
    """Leave without a word: what is under way is answered with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave_at_every_stage(server: RunningServer) -> None:
    """One client for each stage of a request, half of them politely."""
    whole = request(server, "one", 5000)
    at_body = whole.index(b"\r\n\r\n") + 4
    for leave in (socket.socket.close, reset):
        for num_bytes in (0, at_body // 2, at_body, at_body + 20, len(whole)):
            connection = connect(server)
            connection.sendall(whole[:num_bytes])
            leave(connection)
        for num_received in (1, 3000):
            connection = connect(server)
            connection.sendall(whole)
            received = 0
            while received < num_received:
                received += len(connection.recv(1000))
            leave(connection)


def is_idle(server: RunningServer, *models: str) -> bool:
    return all(server.status(model)["num_running"] == 0 for model in models)


def test_clients_leave_at_every_stage(server: RunningServer, report: Report) -> None:
    with Traffic(server, "one") as traffic:
        traffic.warm()
        # What the first of them cost once, such as connections that are kept, is no leak.
        leave_at_every_stage(server)
        traffic.wait_whole(8)
        traffic.note_fault()
        for _ in range(LEAVERS):
            leave_at_every_stage(server)
        traffic.recover()
    report.add(f"clients leave at every stage, {14 * LEAVERS} of them", traffic)
    assert not traffic.wrong
    assert not traffic.failures
    # Their streams would have run for 50 s.
    wait_until(lambda: is_idle(server, "one"), 15, "none runs")


def test_clients_stop_reading(server: RunningServer, report: Report) -> None:
    with Traffic(server, "one") as traffic:
        traffic.warm()
        before = footprint(server)
        traffic.note_fault()
        connections = []
        for _ in range(READERS_THAT_STOP):
            connection = connect(server)
            connection.sendall(request(server, "quick", 10_000_000))
            connection.recv(100)
            connections.append(connection)
        # By then the buffers on the way are full, and the engine waits.
        time.sleep(10)
        assert server.status("quick")["num_running"] == READERS_THAT_STOP
        before.require_flat(server, grown_bytes=100 * 1024**2, grown_fds=60)
        for connection in connections:
            connection.close()
        wait_until(lambda: is_idle(server, "quick"), 15, "none runs")
        traffic.recover()
    report.add(f"clients stop reading, {READERS_THAT_STOP} of them", traffic)
    assert not traffic.wrong
    assert not traffic.failures


@pytest.fixture
def slow_senders(server: RunningServer) -> Iterator[list[socket.socket]]:
    """Clients that have sent the half of their headers, and others that have sent the half of a body."""
    whole = request(server, "one", 5)
    at_body = whole.index(b"\r\n\r\n") + 4
    connections = [connect(server) for _ in range(SLOW_SENDERS)]
    for index, connection in enumerate(connections):
        connection.sendall(whole[: at_body // 2 if index % 2 else at_body + 20])
    yield connections
    for connection in connections:
        connection.close()


async def test_clients_send_a_byte_every_ten_seconds(
    server: RunningServer, report: Report, slow_senders: list[socket.socket]
) -> None:
    with Traffic(server, "one") as traffic:
        traffic.warm()
        traffic.note_fault()
        end_s = time.monotonic() + SLOW_S
        while time.monotonic() < end_s:
            await asyncio.sleep(SLOW_INTERVAL_S)
            for connection in slow_senders:
                connection.sendall(b" ")
        traffic.recover()
    report.add(f"clients send a byte every {SLOW_INTERVAL_S} s, {SLOW_SENDERS} of them", traffic)
    assert not traffic.wrong
    assert not traffic.failures


def test_a_client_that_leaves_while_its_model_starts_harms_nobody(server: RunningServer) -> None:
    assert server.status("slow-start")["state"] == "cold"
    with pytest.raises(httpx.TimeoutException):
        chat(server, "slow-start", timeout=0.5)
    assert chat(server, "slow-start").status_code == 200
