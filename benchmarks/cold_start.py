"""`python -m benchmarks cold_start`: from a request for a cold model to its first token, step by step.

The embedded chat model on real vLLM: raymux, raymux without its pool of preloaded processes, and a plain Serve
deployment of the same engine (`plain_vllm.py`), each at zero replicas, in turn. All clusters are up all the time; what
is measured begins with the request.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.report import RESULTS, Conditions
from catalog.project import PROJECT

MODEL = "demo-chat"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 16, "stream": True}
READY_TIMEOUT_S = 180
FIRST_TOKEN_TIMEOUT_S = 300
COLD_TIMEOUT_S = 120
IDLE_S = 3
TARGET_RATIO = 0.5
PATHS = ("plain", "unpooled", "raymux")
NOTE = (
    "`unpooled` is raymux with `preload: false`. raymux has done the imports before the request comes, once for all"
    " replicas of its node, and keeps 0.65 GB for it; the others import at each start."
)


@dataclass(frozen=True)
class Start:
    """One cold start, seconds from the request to the first token; `steps_s` as raymux tells them."""

    path: str
    repetition: int
    first_token_s: float
    steps_s: dict[str, float] = field(default_factory=dict)


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks cold_start", *arguments]))
    with (
        _raymux("raymux", options.port) as raymux,
        _raymux("unpooled", options.port + 1, preload=False) as unpooled,
        _plain(options.port + 2) as plain,
    ):
        starts = [
            path.start(repetition)
            for repetition in range(options.repetitions)
            # Every other time in the other order.
            for path in (raymux, unpooled, plain)[:: -1 if repetition % 2 else 1]
        ]
    print(_write(conditions, starts, options.results))
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks cold_start", description="The first token of a start.")
    parser.add_argument("--repetitions", type=int, default=3, help="the table shows medians over them")
    parser.add_argument("--port", type=int, default=8231, help="the first of three ports in a row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for cold_start.md and cold_start.json")
    return parser.parse_args(arguments)


class _Path:
    """A server whose model is at zero replicas; `replica` is in the title of the replica's process."""

    def __init__(self, name: str, url: str, replica: str, pid: int) -> None:
        self._name, self._url, self._replica, self._pid = name, url, replica, pid

    def start(self, repetition: int) -> Start:
        """One cold start; before it the last replica has left."""
        self._wait_until_cold()
        begun_s = time.perf_counter()
        with httpx.stream("POST", self._url, json=BODY, timeout=FIRST_TOKEN_TIMEOUT_S) as reply:
            reply.raise_for_status()
            # raymux's stream begins with comments while the model starts; they are no token.
            next(line for line in reply.iter_lines() if line and not line.startswith(":"))
            first_token_s = time.perf_counter() - begun_s
        start = Start(self._name, repetition, first_token_s, self._steps())
        print(f"{self._name:>8}: {first_token_s:.2f} s to the first token {start.steps_s or ''}", flush=True)
        return start

    def _wait_until_cold(self) -> None:
        deadline_s = time.monotonic() + COLD_TIMEOUT_S
        while any(self._replica in title for title in _titles(self._pid)):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the replica of {self._name} does not leave")
            time.sleep(0.5)
        # What a replica's end costs must not be counted.
        time.sleep(3)

    def _steps(self) -> dict[str, float]:
        if self._name == "plain":
            return {}
        status = httpx.get(self._url.replace("/v1/chat/completions", "/v1/status"), timeout=10).json()
        variant = next(each for each in status["variants"] if each["model"] == MODEL)
        return variant["last_cold_start"]["steps_s"]


def _titles(pid: int) -> Iterator[str]:
    for process in psutil.Process(pid).children(recursive=True):
        try:
            yield " ".join(process.cmdline())
        except psutil.Error:
            continue


@contextmanager
def _raymux(name: str, port: int, *, preload: bool = True) -> Iterator[_Path]:
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder:
        document: dict[str, Any] = yaml.safe_load((PROJECT / "serve_config.yaml").read_text(encoding="utf-8"))
        document["http_options"]["port"] = port
        manager = document["applications"][0]["deployments"][1]["user_config"]
        manager["preload"] = preload
        manager["store"] = f"{folder}/raymux.db"
        for model in manager["models"]:
            model["lifecycle"] = {"idle_timeout_s": IDLE_S}
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        command = [sys.executable, "-m", "deployments.serve", str(config), "--log", f"{folder}/serve.log"]
        url = f"http://127.0.0.1:{port}"
        with _running(command, f"{url}/ready", {}) as pid:
            yield _Path(name, f"{url}/v1/chat/completions", "ServeReplica:model-demo-chat", pid)


@contextmanager
def _plain(port: int) -> Iterator[_Path]:
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder:
        config = Path(folder) / "config.yaml"
        application = {"name": "plain", "route_prefix": "/", "import_path": "benchmarks.plain_vllm:app"}
        document = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "serve"), "run", str(config)]
        url = f"http://127.0.0.1:{port}"
        offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        with _running(command, f"{url}/-/healthz", {**offline, "RAY_worker_niceness": "0"}) as pid:
            yield _Path("plain", url, "ServeReplica:plain", pid)


@contextmanager
def _running(command: list[str], ready_url: str, environment: dict[str, str]) -> Iterator[int]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "RAY_ADDRESS": "local", **environment},
        )  # fmt: skip
        try:
            deadline_s = time.monotonic() + READY_TIMEOUT_S
            while not _is_ready(ready_url):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not start: {log.read().decode(errors='replace')[-2000:]}")
                time.sleep(0.2)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM if "deployments.serve" in command else signal.SIGINT)
            process.wait(90)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _write(conditions: Conditions, starts: list[Start], folder: Path) -> str:
    """Write `cold_start.md` and `cold_start.json`. Returns the Markdown."""
    text = f"# Cold start of the embedded chat model\n\n{conditions.text()}.\n\n{_table(starts)}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cold_start.md").write_text(text, encoding="utf-8")
    data = {"conditions": asdict(conditions), "starts": [asdict(start) for start in starts]}
    (folder / "cold_start.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return text


def _table(starts: list[Start]) -> str:
    times = {path: [start.first_token_s for start in starts if start.path == path] for path in PATHS}
    plain_s = statistics.median(times["plain"])
    lines = [
        "| Path | first token, s (median) | of plain | each, s | steps (medians) |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for path, seconds in times.items():
        median_s = statistics.median(seconds)
        each = ", ".join(f"{second:.1f}" for second in seconds)
        steps = _steps([start.steps_s for start in starts if start.path == path and start.steps_s])
        lines.append(f"| {path} | {median_s:.1f} | {median_s / plain_s:.2f} | {each} | {steps} |")
    return "\n".join([*lines, "", f"Target: raymux at most {TARGET_RATIO} of plain. {NOTE}"])


def _steps(steps: list[dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for each in steps for name in each))
    return ", ".join(f"{name} {statistics.median(each.get(name, 0.0) for each in steps):.1f} s" for name in names)
