"""Inner ports: free ones on a shared machine, the same on every node of a cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from catalog.redis import RedisSettings
from deployments import environment
from deployments.environment import environment_keys, exports, redis_url, serve_environment

PORTS = (
    "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT", "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)  # fmt: skip


def ports(**options: bool) -> list[int]:
    variables = serve_environment(fast_path=True, **options)
    return [int(variables[name]) for name in PORTS]


def test_every_node_of_a_cluster_uses_the_same_ports() -> None:
    assert exports() == exports()
    assert len({tuple(ports(has_machine=True)) for _ in range(5)}) == 1


@pytest.fixture(autouse=True)
def _claims_end_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    claims: list[int] = []
    monkeypatch.setattr(environment, "_claims", claims)
    yield
    for claim in claims:
        os.close(claim)


def test_servers_never_take_the_same_ports_not_even_before_the_first_one_listens() -> None:
    taken = [port for _ in range(20) for port in ports()]
    assert len(set(taken)) == len(taken)


@pytest.mark.parametrize("variable", PORTS)
def test_on_a_shared_machine_taken_ports_are_left_alone(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    free = serve_environment(fast_path=True)
    slot = int(free["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"]) - 8_500
    slots_in_order = [slot, *(each for each in range(environment.SLOTS) if each != slot)]
    monkeypatch.setattr(environment.random, "sample", lambda _, __: slots_in_order)
    # The claim ends only when the port has a listener, so that no other server comes between.
    with socket.create_server(("127.0.0.1", int(free[variable]))):
        os.close(environment._claims.pop())
        assert serve_environment(fast_path=True)[variable] != free[variable]


def test_no_port_is_one_that_an_outgoing_connection_may_have() -> None:
    ports_of_slots = [int(port) for slot in range(environment.SLOTS) for port in environment._ports(slot).values()]
    assert max(ports_of_slots) < 32_768


def test_where_all_are_taken_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SLOTS", 0)
    with pytest.raises(RuntimeError, match="no ports are left"):
        ports()


def test_what_the_operator_has_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORTS[0], "31234")
    assert ports(has_machine=True)[0] == 31234


def test_keys_come_from_both_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMUX_API_KEYS", "acme:rmx-0123456789abcdef")
    monkeypatch.setenv("RAYMUX_ADMIN_KEYS", "rmx-admin-0123456789")
    assert [(key.tenant, key.admin) for key in environment_keys()] == [("acme", False), ("default", True)]


@pytest.mark.parametrize("url", ["", "http://redis:6379", "redis.example:6379"])
def test_a_redis_url_that_is_none_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RAYMUX_REDIS_URL", url)
    with pytest.raises(ValueError, match="RAYMUX_REDIS_URL") as caught:
        redis_url(RedisSettings())
    assert not url or url not in str(caught.value)
