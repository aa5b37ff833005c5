"""The servers under test: each a process group of its own that ends with its block."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.load import PROMPT
from catalog.sources import PROJECT

CONFIG = Path(__file__).parent / "configs" / "gateway.yaml"
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 90


@dataclass(frozen=True)
class Server:
    """A server that answers; every process of it descends from `pid`."""

    path: str
    url: str
    pid: int


class ServerFailed(RuntimeError):
    """A server did not come up."""


@contextmanager
def bare(port: int) -> Iterator[Server]:
    """The emulated engine alone."""
    with _running(["benchmarks.bare", "--port", str(port)], "bare", port) as server:
        yield server


@contextmanager
def raymux(port: int, *, plain: bool = False) -> Iterator[Server]:
    """The gateway and its engine: behind HAProxy, or with `plain` behind Serve's Python proxy."""
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder:
        config = Path(folder) / "gateway.yaml"
        document = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        document["http_options"]["port"] = port
        document["applications"][0]["deployments"][1]["user_config"]["store"] = f"{folder}/raymux.db"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        arguments = ["deployments.serve", str(config), "--log", f"{folder}/serve.log", *(["--plain"] if plain else [])]
        with _running(arguments, "plain" if plain else "raymux", port) as server:
            yield server


@contextmanager
def _running(arguments: list[str], path: str, port: int) -> Iterator[Server]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        server = Server(path, f"http://127.0.0.1:{port}/v1/chat/completions", process.pid)
        try:
            if not _wait_for_reply(server, process):
                log.seek(0)
                raise ServerFailed(f"{path} did not start: {log.read().decode(errors='replace')[-2000:]}")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_TIMEOUT_S)


def _wait_for_reply(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Whether it answers a completion in time; the first one also starts the model."""
    body = f'{{"model": "emulated", "max_tokens": 1, "messages": [{{"role": "user", "content": "{PROMPT}"}}]}}'.encode()
    request = urllib.request.Request(server.url, body, {"Content-Type": "application/json"})
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
