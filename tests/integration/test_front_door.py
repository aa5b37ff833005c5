"""What listens, what plain `serve run` does, and what bad configurations say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.calls import chat, lines, text
from tests.integration.conftest import EMULATED
from tests.server import PROJECT, RunningServer, title, user_config, wait_until


@pytest.mark.haproxy
def test_haproxy_listens_on_one_port_of_loopback(server: RunningServer) -> None:
    pids = [each.pid for each in haproxies(server)]
    connections = [each for each in psutil.net_connections("tcp") if each.pid in pids]
    sockets = [each for each in connections if each.status == psutil.CONN_LISTEN]
    assert {each.laddr for each in sockets} == {("127.0.0.1", server.port)}


@pytest.mark.haproxy
def test_haproxys_control_socket_belongs_to_its_owner_alone(server: RunningServer) -> None:
    arguments = title(haproxies(server)[0]).split()
    configuration = Path(arguments[arguments.index("-f") + 1]).read_text()
    assert "mode 600 level admin" in configuration
    assert "mode 666" not in configuration
    assert configuration.count("errorfile ") == 6
    assert "timeout http-request 30s" in configuration


def test_a_model_is_added_and_none_is_restarted(server: RunningServer) -> None:
    chat(server, "fast")
    pids = server.replica_pids("fast")

    def add(document: dict) -> None:
        models = user_config(document, "ModelManager")["models"]
        models.append({**models[1], "name": "newcomer"})

    server.deploy(add)
    wait_until(lambda: chat(server, "newcomer").status_code == 200, 30, "the new model answers")
    assert server.replica_pids("fast") == pids


@pytest.fixture(scope="module")
def plain(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with RunningServer(EMULATED, arguments=["--plain"]) as running:
        yield running


def test_plain_serve_does_the_same_through_serves_own_proxy(plain: RunningServer) -> None:
    assert not haproxies(plain)
    assert chat(plain, "fast").status_code == 200
    assert text(list(lines(plain, "fast"))) == "one two three four five "
    assert chat(plain, "Fast").status_code == 404
    stream = lines(plain, "fast", max_tokens=5000)
    next(stream)
    wait_until(lambda: plain.status("fast")["num_running"] == 1, 5, "it runs")
    stream.close()
    wait_until(lambda: plain.status("fast")["num_running"] == 0, 10, "it was aborted")


def haproxies(server: RunningServer) -> list[psutil.Process]:
    """The processes of the front door."""
    return [each for each in server.processes(None) if title(each).split()[0].endswith("haproxy")]


def serve(config: Path) -> subprocess.CompletedProcess[str]:
    """Start a server that must refuse at once."""
    command = [sys.executable, "-m", "deployments.serve", str(config), "--log", str(config) + ".log"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: fast", "nam: fast", "models.0"),
        ("shape: CPU", "shape: TPU", "variants.0.shape"),
        ("source: models/demo-chat", "source: models/none", "no folder at source 'models/none'"),
        ("host: 127.0.0.1", "host: 0.0.0.0", "http_options.host"),
        ("models:", "models: [", "not valid YAML"),
    ],
)
def test_a_bad_configuration_is_one_clear_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(EMULATED.read_text().replace(old, new, 1))
    result = serve(config)
    assert result.returncode == 1
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_refused(server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMUX_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("RECEIVER_SECRET", "a secret")
    config = tmp_path / "config.yaml"
    config.write_text(server.config.read_text())
    assert "listens on" in serve(config).stderr
