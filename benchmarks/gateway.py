"""`python -m benchmarks gateway`: what the way through raymux costs, next to the same engine without it.

The engine is emulated (64 tokens at 5 ms each), so that what is left to measure is the way to it: time to the first
token, requests per second and CPU. Paths are measured in turn, in one run: `bare`, `raymux`, and `plain` if asked for.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LoadReport, run_client
from benchmarks.processes import CpuMeter
from benchmarks.report import RESULTS, Conditions, Sample, write
from benchmarks.servers import Server, ServerFailed, bare, raymux

STREAMS = (1, 8, 32, 64)
# A warm-up opens the connections to the replica and fills caches; its figures are dropped.
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What one run measures."""

    streams: tuple[int, ...]
    repetitions: int
    duration_s: float
    tokens: int
    unstreamed: bool


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = Plan(tuple(options.streams), options.repetitions, options.duration_s, options.tokens, options.unstreamed)
    conditions = Conditions.now(" ".join(["python -m benchmarks gateway", *arguments]))
    try:
        samples = _measure(plan, _servers(options.port, plain=options.plain))
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(write(conditions, samples, options.results))
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway", description="The cost of the gateway.")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="concurrent streams; try 256 too")
    parser.add_argument("--repetitions", type=int, default=3, help="the table shows medians over them")
    parser.add_argument("--duration-s", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--tokens", type=int, default=64, help="of each reply")
    parser.add_argument("--unstreamed", action="store_true", help="one JSON body instead of events")
    parser.add_argument("--plain", action="store_true", help="measure Serve's Python proxy too")
    parser.add_argument("--port", type=int, default=8211, help="the first of two or three ports in a row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for gateway.md and gateway.json")
    return parser.parse_args(arguments)


def _servers(port: int, *, plain: bool) -> list:
    servers = [raymux(port), bare(port + 1)]
    return [*servers, raymux(port + 2, plain=True)] if plain else servers


def _measure(plan: Plan, servers: list) -> list[Sample]:
    """All paths are up all the time and take turns, so that what else the machine does meets all of them."""
    with ExitStack() as stack:
        running = [stack.enter_context(server) for server in servers]
        meters = {server.path: CpuMeter(server.pid) for server in running}
        return [
            _sample(plan, server, meters[server.path], num_streams, repetition)
            for repetition, num_streams, server in _turns(plan, running)
        ]


def _turns(plan: Plan, servers: list[Server]) -> Iterator[tuple[int, int, Server]]:
    for repetition in range(plan.repetitions):
        for num_streams in plan.streams:
            # Every other time in the other order.
            for server in servers[:: -1 if repetition % 2 else 1]:
                yield repetition, num_streams, server


def _sample(plan: Plan, server: Server, meter: CpuMeter, num_streams: int, repetition: int) -> Sample:
    _run_load(plan, server, num_streams, WARM_UP_S, None)
    load = _run_load(plan, server, num_streams, plan.duration_s, meter)
    cpu_s = meter.used_s()
    print(
        f"{server.path:>7} {num_streams:>4} streams: {load.requests_per_s:6.1f} requests/s,"
        f" TTFT p50 {load.ttft_p50_ms:.1f} ms, {sum(cpu_s.values()) * 1000 / max(1, load.num_requests):.2f} ms CPU"
        f" a request{f', errors: {load.errors}' if load.errors else ''}",
        flush=True,
    )
    return Sample(server.path, num_streams, repetition, load, cpu_s)


def _run_load(plan: Plan, server: Server, num_streams: int, duration_s: float, meter: CpuMeter | None) -> LoadReport:
    """Run the client in a process of its own; `meter` counts from its first request."""
    words = [
        "--streams", str(num_streams), "--duration-s", str(duration_s), "--tokens", str(plan.tokens),
        *(["--unstreamed"] if plan.unstreamed else []),
    ]  # fmt: skip
    return run_client(server.url, words, lambda: None if meter is None else meter.restart())
