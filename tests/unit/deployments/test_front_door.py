from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deployments.environment import FRONT_DOOR
from router.endpoints import ENDPOINTS

GENERATED = """\
global
    stats socket /tmp/admin.sock mode 666 level admin expose-fd listeners
defaults
    option httplog
    option splice-request
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
    acl is_app path_beg /
listen stats
  bind *:8404
  stats enable
"""


@pytest.fixture
def mended(tmp_path: Path) -> list[str]:
    """The lines of a configuration such as Serve's, mended."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(GENERATED)
    environment = {**os.environ, "RAYMUX_HAPROXY": "/bin/true"}
    subprocess.run([FRONT_DOOR, "-db", "-f", str(config)], env=environment, check=True, timeout=10)
    return [line.strip() for line in config.read_text().splitlines()]


def test_only_the_front_door_says_where_serve_need_not_notice_a_client_that_leaves(mended: list[str]) -> None:
    """Where the gateway notices it itself; whatever a client says is dropped first."""
    (told,) = [line for line in mended if "set-header x-request-disconnect-disabled" in line]
    dropped = "http-request del-header x-request-disconnect-disabled"
    assert mended.index("bind 127.0.0.1:8000") < mended.index(dropped) < mended.index(told)
    paths = told.partition("{ path ")[2].removesuffix(" }").split()
    assert "/v1/chat/completions" in paths
    assert set(paths) <= {endpoint.path for endpoint in ENDPOINTS}


def test_nothing_listens_beside_the_front_door(mended: list[str]) -> None:
    assert [line for line in mended if line.startswith(("frontend", "listen", "bind"))] == [
        "frontend http_frontend",
        "bind 127.0.0.1:8000",
    ]
    assert "acl is_app path_beg /" in mended


def test_its_control_socket_is_its_owner_s(mended: list[str]) -> None:
    assert not [line for line in mended if "mode 666" in line or line == "option splice-request"]
