"""`python -m benchmarks settings`: what an operator's settings move, each next to the defaults.

The emulated engine of the gateway benchmark, 64 tokens at 5 ms, streamed. A server with the defaults is up all the
time; servers that differ from it in one thing come one after the other, and take turns with it. docs/performance.md
says what the figures mean.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Any

from benchmarks.report import Conditions, Sample, save
from benchmarks.servers import ServerFailed, deployment, raymux, with_gateways
from benchmarks.turns import Plan, add_options, measure

DEFAULTS = "defaults"
COLUMNS = (
    "Setting", "Streams", "requests/s of defaults", "TTFT p50 above defaults, ms", "p95 above", "between reads p99, ms",
    "of defaults, ms", "CPU ms a request", "of defaults", "failed",
)  # fmt: skip
# Never reached: what is measured is the counting.
LIMITS = {"requests_per_minute": 10_000_000, "tokens_per_minute": 10_000_000_000}


@dataclass(frozen=True)
class Setting:
    """One difference from the defaults."""

    name: str
    edit: Callable[[dict[str, Any]], None] = lambda _: None
    environment: dict[str, str] = field(default_factory=dict)
    plain: bool = False


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks settings", *arguments]))
    try:
        samples = _measure(options)
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    text = "\n\n".join(["# What settings move", f"{conditions.text()}.", table(samples)]) + "\n"
    save(options.results, "settings", text, conditions, samples)
    print(text)
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks settings", description="What settings move.")
    add_options(parser, "settings", streams=[8, 64], duration_s=3.0, port=8291, ports="three")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace) -> list[Sample]:
    plan = Plan(tuple(options.streams), options.repetitions, options.duration_s)
    samples: list[Sample] = []
    with ExitStack() as stack:
        collector = stack.enter_context(_collector())
        redis_url = stack.enter_context(_redis(options.port + 2))
        defaults = replace(stack.enter_context(raymux(options.port)), path=DEFAULTS)
        for number, setting in enumerate(_settings(collector, redis_url)):
            start = partial(raymux, plain=setting.plain, edit=setting.edit, environment=setting.environment)
            with start(options.port + 1) as other:
                # The defaults are measured anew beside each setting.
                samples += measure(plan, [defaults, replace(other, path=setting.name)], number)
    return samples


def _settings(collector: str, redis_url: str | None) -> Iterator[Setting]:
    yield Setting("Serve's Python proxy (plain `serve run`)", plain=True)
    yield Setting("two gateways (`num_replicas: 2`)", partial(with_gateways, 2))
    limited = partial(_with_settings, limits=LIMITS)
    yield Setting("limits", limited)
    if redis_url is not None:
        shared = partial(_with_settings, limits=LIMITS, redis={})
        yield Setting("limits shared in Redis", shared, {"RAYMUX_REDIS_URL": redis_url})
    yield Setting("traces (`OTEL_EXPORTER_OTLP_ENDPOINT`)", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector})
    yield Setting("no line a request in the log (`log_level: WARNING`)", _quiet)
    counted = {"RAY_SERVE_HAPROXY_METRICS_ENABLED": "1"}
    yield Setting("Serve's counts of HAProxy (`RAY_SERVE_HAPROXY_METRICS_ENABLED=1`)", environment=counted)
    eager = {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1"}
    yield Setting("Serve's own pace of control (`RAY_SERVE_CONTROL_LOOP_INTERVAL_S=0.1`)", environment=eager)
    yield Setting("Ray's own niceness (`RAY_worker_niceness=15`)", environment={"RAY_worker_niceness": "15"})


def _with_settings(document: dict[str, Any], **values: Any) -> None:
    deployment(document, "Gateway")["user_config"].update(values)


def _quiet(document: dict[str, Any]) -> None:
    document["logging_config"]["log_level"] = "WARNING"


def table(samples: list[Sample]) -> str:
    """A row for each setting and number of streams: medians over repetitions, of differences within each."""
    groups: dict[tuple[str, int], list[tuple[Sample, Sample]]] = defaultdict(list)
    defaults = {(each.round, each.num_streams, each.repetition): each for each in samples if each.path == DEFAULTS}
    for sample in samples:
        if sample.path != DEFAULTS:
            beside = defaults[sample.round, sample.num_streams, sample.repetition]
            groups[sample.path, sample.num_streams].append((sample, beside))
    lines = [COLUMNS, ["---" if title == "Setting" else "---:" for title in COLUMNS]]
    lines += [_row(name, num_streams, pairs) for (name, num_streams), pairs in groups.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(name: str, num_streams: int, pairs: list[tuple[Sample, Sample]]) -> list[str]:
    return [
        name,
        str(num_streams),
        f"{median(mine.load.requests_per_s / other.load.requests_per_s for mine, other in pairs):.3f}",
        f"{median(mine.load.ttft_p50_ms - other.load.ttft_p50_ms for mine, other in pairs):+.1f}",
        f"{median(mine.load.ttft_p95_ms - other.load.ttft_p95_ms for mine, other in pairs):+.1f}",
        f"{median(mine.load.gap_p99_ms for mine, _ in pairs):.1f}",
        f"{median(other.load.gap_p99_ms for _, other in pairs):.1f}",
        f"{median(mine.cpu_ms_per_request for mine, _ in pairs):.2f}",
        f"{median(other.cpu_ms_per_request for _, other in pairs):.2f}",
        str(sum(sum(each.load.errors.values()) for pair in pairs for each in pair)),
    ]


@contextmanager
def _redis(port: int) -> Iterator[str | None]:
    """The URL of a Redis server; None where none is installed, and then its setting is left out, and said so."""
    binary = shutil.which("redis-server")
    if binary is None:
        print("redis-server is not installed: limits in Redis are not measured", file=sys.stderr)
        yield None
        return
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", os.curdir]
    process = subprocess.Popen([binary, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


class _Collector(BaseHTTPRequestHandler):
    """Takes whatever is exported."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def _collector() -> Iterator[str]:
    """The address of an OTLP collector."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
