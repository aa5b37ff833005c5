"""Processes that die while requests run, and clients that leave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

from deployments.engine.emulator import WORDS
from tests.integration.calls import chat, lines, text
from tests.server import RunningServer, wait_until


def serve_process(server: RunningServer, deployment: str) -> psutil.Process:
    """The process of the gateway's or manager's replica."""
    title = f"ray::ServeReplica:raymux:{deployment}"
    found = [each for each in server.processes(None) if title in " ".join(each.cmdline())]
    assert len(found) == 1, f"{len(found)} processes of {deployment}"
    return found[0]


def test_a_killed_replica_ends_its_streams_with_an_error_and_is_replaced(server: RunningServer) -> None:
    chat(server, "fast")
    stream = lines(server, "fast", max_tokens=2000)
    next(stream)
    (pid,) = server.replica_pids("fast")
    psutil.Process(pid).kill()
    received = list(stream)
    assert "data: [DONE]" not in received
    assert json.loads(received[-1].removeprefix("data: "))["error"]["code"] == "upstream_error"
    reply = chat(server, "fast")
    assert reply.status_code == 200, reply.text
    assert server.replica_pids("fast") != [pid]


def read_all(stream: Iterator[str], into: list[str]) -> None:
    into.extend(stream)


def test_a_replica_that_hangs_costs_no_request_while_another_one_serves(server: RunningServer) -> None:
    """SIGSTOP: its connections stay open, and nothing says that nobody is there."""
    chat(server, "pair")
    (hung,) = ready_pids(server)
    streams: list[list[str]] = [[] for _ in range(4)]
    readers = [
        threading.Thread(target=read_all, args=(lines(server, "pair", max_tokens=4000), events)) for events in streams
    ]
    for reader in readers:
        reader.start()
    server.wait_for("pair", lambda status: len(status["replicas"]) == 2 and status["state"] == "ready", 40, "has two")
    wait_until(lambda: len(ready_pids(server)) == 2, 20, "both are ready")
    (other,) = {*ready_pids(server)} - {hung}
    psutil.Process(hung).suspend()
    begun_s = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        # So many at once that some are sent to the one that hangs.
        codes = list(pool.map(lambda _: chat(server, "pair", timeout=60).status_code, range(16)))
    slowest_s = time.monotonic() - begun_s
    while time.monotonic() - begun_s < 50 and psutil.pid_exists(hung):
        codes.append(chat(server, "pair", timeout=60).status_code)
    for reader in readers:
        reader.join(60)
    assert set(codes) == {200}
    # Silent for 8 s, given up after 3 more: what waited for the hung one then went elsewhere.
    assert 8 < slowest_s < 20
    assert not psutil.pid_exists(hung), "it was killed"
    assert other in ready_pids(server)
    for events in streams:
        errors = [event for event in events if '"error"' in event]
        assert len(errors) == ("data: [DONE]" not in events), "a stream ends well, or in exactly one error"
        words = text(events).split()
        assert words == [WORDS[index % len(WORDS)] for index in range(len(words))], "none lost, doubled or out of order"


def ready_pids(server: RunningServer) -> list[int]:
    return [each["pid"] for each in server.status("pair")["replicas"] if each["state"] == "ready"]


def test_requests_are_served_while_the_manager_is_dead_and_known_again_when_it_is_back(server: RunningServer) -> None:
    chat(server, "fast")
    pids = server.replica_pids("fast")
    manager = serve_process(server, "ModelManager")
    stop = threading.Event()
    codes: list[int] = []

    def traffic() -> None:
        while not stop.is_set():
            codes.append(chat(server, "fast").status_code)

    client = threading.Thread(target=traffic)
    client.start()
    manager.kill()
    wait_until(lambda: serve_process_or_none(server) not in (None, manager.pid), 30, "the manager is back")
    wait_until(lambda: server.status("fast")["state"] == "ready", 30, "its replica has reported")
    stop.set()
    client.join()
    assert set(codes) == {200}
    assert server.replica_pids("fast") == pids
    assert chat(server, "slow-start").status_code == 200


def serve_process_or_none(server: RunningServer) -> int | None:
    """The manager's process id, or None while there is none."""
    try:
        return serve_process(server, "ModelManager").pid
    except (AssertionError, psutil.NoSuchProcess):
        return None


def test_a_killed_gateway_is_replaced_and_models_stay_warm(server: RunningServer) -> None:
    chat(server, "fast")
    pids = server.replica_pids("fast")
    serve_process(server, "Gateway").kill()
    seen: list[httpx.Response] = []

    def answers() -> bool:
        try:
            seen.append(chat(server, "fast", timeout=5))
        except httpx.TransportError:
            return False
        return seen[-1].status_code == 200

    wait_until(answers, 60, "a gateway answers")
    assert all(reply.json()["error"]["code"] for reply in seen if reply.status_code != 200), "every refusal is in shape"
    assert server.replica_pids("fast") == pids


def test_clients_that_leave_leave_nothing_running(server: RunningServer) -> None:
    chat(server, "fast")
    streams = [lines(server, "fast", max_tokens=10_000) for _ in range(50)]
    for stream in streams:
        next(stream)
    wait_until(lambda: server.status("fast")["num_running"] == 50, 10, "all run")
    for stream in streams:
        stream.close()
    # They would have gone on for 50 s.
    wait_until(lambda: server.status("fast")["num_running"] == 0, 15, "none runs")


def test_a_client_that_leaves_while_its_model_starts_harms_nobody(server: RunningServer) -> None:
    server.wait_for_state("slow-start", "cold", 40)
    try:
        chat(server, "slow-start", timeout=0.5)
    except httpx.TimeoutException:
        pass
    assert chat(server, "slow-start").status_code == 200
