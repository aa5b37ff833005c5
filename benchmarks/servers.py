"""The servers under test: each a process group of its own that ends with its block."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.load import PROMPT
from catalog.project import PROJECT

CONFIG = Path(__file__).parent / "configs" / "gateway.yaml"
# What a server is asked until it answers.
PROBE = {"model": "emulated", "max_tokens": 1, "messages": [{"role": "user", "content": PROMPT}]}
CHAT_PATH = "/v1/chat/completions"
# Five that import vLLM at once on two cores take minutes.
START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 90


@dataclass(frozen=True)
class Server:
    """A server that answers; every process of it descends from `pid`, but for the engines `behind` it.

    `client_words` are what `benchmarks.load` must be told of it; with more than `max_streams` it is not measured.
    """

    path: str
    base_url: str
    pid: int
    behind: tuple[int, ...] = ()
    client_words: tuple[str, ...] = ()
    max_streams: int = sys.maxsize

    @property
    def url(self) -> str:
        """Of its chat completions."""
        return f"{self.base_url}{CHAT_PATH}"


class ServerFailed(RuntimeError):
    """A server did not come up."""


@contextmanager
def together(starts: Sequence[Callable[[], AbstractContextManager[Server]]]) -> Iterator[list[Server]]:
    """Several servers that start at the same time, and end at the same time. Raises ServerFailed."""
    blocks = [start() for start in starts]
    with ThreadPoolExecutor(max(1, len(blocks))) as threads:
        entered = [threads.submit(block.__enter__) for block in blocks]
        try:
            yield [each.result() for each in entered]
        finally:
            began = [block for block, each in zip(blocks, entered, strict=True) if each.exception() is None]
            for ended in [threads.submit(block.__exit__, None, None, None) for block in began]:
                ended.result()


@contextmanager
def bare(port: int) -> Iterator[Server]:
    """The emulated engine alone."""
    with running(["benchmarks.bare", "--port", str(port)], "bare", port) as server:
        yield server


@contextmanager
def bare_each(port: int, num: int) -> Iterator[Server]:
    """As many of them as there are models, at ports in a row: a client that knows them all needs no gateway."""
    with together([partial(bare, port + number) for number in range(num)]) as servers:
        first, *others = servers
        yield replace(first, path="bare-each", behind=tuple(each.pid for each in others), client_words=("--each-port",))


@contextmanager
def raymux(
    port: int,
    *,
    plain: bool = False,
    config: Path = CONFIG,
    probe: Mapping[str, Any] = PROBE,
    edit: Callable[[dict[str, Any]], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """The gateway and its engines: behind HAProxy, or with `plain` behind Serve's Python proxy.

    `edit` changes the configuration before it is used.
    """
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder:
        document = yaml.safe_load(config.read_text(encoding="utf-8"))
        config = Path(folder) / "gateway.yaml"
        document["http_options"]["port"] = port
        deployment(document, "ModelManager")["user_config"]["store"] = f"{folder}/raymux.db"
        edit(document)
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        arguments = ["deployments.serve", str(config), "--log", f"{folder}/serve.log", *(["--plain"] if plain else [])]
        path = "plain" if plain else "raymux"
        with running(arguments, path, port, probe, environment=environment) as server:
            yield server


def deployment(document: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of a Serve configuration that is about this deployment."""
    return next(each for each in document["applications"][0]["deployments"] if each["name"] == name)


def with_gateways(number: int, document: dict[str, Any]) -> None:
    """Edit a configuration so that it has so many gateways."""
    deployment(document, "Gateway")["num_replicas"] = number


@contextmanager
def running(
    arguments: Sequence[str],
    path: str,
    port: int,
    probe: Mapping[str, Any] | None = PROBE,
    *,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[Server]:
    """A Python module with its arguments as a server, from the moment it answers the probe; None asks for `/ready`.

    `environment` is added to this process's, or replaces what is in it.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [python, "-m", *arguments], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        server = Server(path, f"http://127.0.0.1:{port}", process.pid)
        try:
            if not _wait_for_reply(server, process, probe):
                log.seek(0)
                raise ServerFailed(f"{path} did not start: {log.read().decode(errors='replace')[-2000:]}")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_TIMEOUT_S)


def _wait_for_reply(server: Server, process: subprocess.Popen[bytes], probe: Mapping[str, Any] | None) -> bool:
    """Whether it answers the probe in time; the first one also starts the model."""
    if probe is None:
        request = urllib.request.Request(f"{server.base_url}/ready")
    else:
        path = "/v1/embeddings" if "input" in probe else CHAT_PATH
        request = urllib.request.Request(
            f"{server.base_url}{path}", json.dumps(probe).encode(), {"Content-Type": "application/json"}
        )
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status == 200
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False
