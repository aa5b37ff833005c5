"""raymux on two hosts with addresses of their own: the front door here, the engine there, a network between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.calls import chat, error, lines
from tests.server import PROJECT, RunningServer, title, wait_until
from tests.two_hosts import TwoHosts, is_possible

pytestmark = pytest.mark.skipif(not is_possible(), reason="takes iproute2 and the right to make network namespaces")

MODEL = "far"


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    with TwoHosts() as running:
        running.join()
        yield running


@pytest.fixture(scope="module")
def server(hosts: TwoHosts) -> Iterator[RunningServer]:
    with RunningServer(PROJECT / "tests/configs/two_hosts.yaml", environment=hosts.environment) as running:
        yield running


def test_an_engine_answers_on_the_other_host(server: RunningServer, hosts: TwoHosts) -> None:
    assert chat(server, MODEL).status_code == 200
    assert list(lines(server, MODEL))[-1] == "data: [DONE]"
    (replica,) = server.status(MODEL)["replicas"]
    assert replica["node"] == hosts.other


def test_every_gateway_is_where_the_front_door_is(server: RunningServer, hosts: TwoHosts) -> None:
    assert sum("ray::ServeReplica:raymux:Gateway" in title(each) for each in hosts.here.family()) == 2


def test_a_stream_ends_in_an_error_when_the_network_is_cut_and_the_model_is_back_with_it(
    server: RunningServer, hosts: TwoHosts
) -> None:
    stream = lines(server, MODEL, max_tokens=5000)
    next(stream)
    hosts.cut()
    try:
        assert code_of(list(stream)[-1]) == "upstream_error"
    finally:
        hosts.mend()
    # The gateway that the stream went through leaves the replica alone for 5 s.
    wait_until(lambda: all(chat(server, MODEL).status_code == 200 for _ in range(4)), 30, "both gateways answer")


def test_a_host_that_is_lost_ends_its_streams_and_who_asks_meanwhile_is_told_until_another_comes(
    server: RunningServer, hosts: TwoHosts
) -> None:
    stream = lines(server, MODEL, max_tokens=5000)
    next(stream)
    hosts.lose()
    assert code_of(list(stream)[-1]) == "upstream_error"
    reply = chat(server, MODEL)
    assert (reply.status_code, error(reply)["code"]) == (503, "gpu_unavailable")
    hosts.join()
    wait_until(lambda: chat(server, MODEL).status_code == 200, 60, "it answers on the new host")


def code_of(event: str) -> str:
    """The code of a stream's error event."""
    data: dict[str, Any] = json.loads(event.removeprefix("data: "))
    return data["error"]["code"]
