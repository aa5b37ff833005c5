"""Inner ports: free ones on a shared machine, the same on every node of a cluster."""

from __future__ import annotations

import socket

import pytest

from catalog.redis import RedisSettings
from deployments.environment import environment_keys, exports, redis_url, serve_environment

PORTS = (
    "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT",
)  # fmt: skip


def ports(**options: bool) -> list[int]:
    environment = serve_environment(fast_path=True, **options)
    return [int(environment[name]) for name in PORTS]


def test_every_node_of_a_cluster_uses_the_same_ports() -> None:
    assert exports() == exports()
    assert len({tuple(ports(has_machine=True)) for _ in range(5)}) == 1


def test_on_a_shared_machine_taken_ports_are_left_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for _ in range(5):
            assert taken.getsockname()[1] not in ports()
    assert len({tuple(ports()) for _ in range(5)}) > 1


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
