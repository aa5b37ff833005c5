"""Servers measured in turn: all of them are up all the time, so that what else the machine does meets all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import LoadReport, run_client
from benchmarks.processes import CpuMeter
from benchmarks.report import RESULTS, Sample
from benchmarks.servers import CHAT_PATH, Server

# Opens the connections to the replicas and fills caches; its figures are dropped.
WARM_UP_S = 0.7


@dataclass(frozen=True)
class Plan:
    """What is asked of each server, at `path`. `words` are further arguments of the client, `benchmarks.load`."""

    streams: tuple[int, ...]
    repetitions: int
    duration_s: float
    words: tuple[str, ...] = ()
    unstreamed: bool = False
    path: str = CHAT_PATH


def add_options(
    parser: argparse.ArgumentParser, name: str, *, streams: Sequence[int], duration_s: float, port: int, ports: str
) -> None:
    """What benchmarks that measure in turn have in common; `ports` says how many they use."""
    add = parser.add_argument
    add("--streams", type=int, nargs="+", default=streams, help="requests at once")
    add("--repetitions", type=int, default=3, help="the table shows medians over them")
    add("--duration-s", type=float, default=duration_s, help="of one measurement")
    add("--port", type=int, default=port, help=f"the first of {ports} ports in a row")
    add("--results", type=Path, default=RESULTS, help=f"folder for {name}.md and {name}.json")


def measure(plan: Plan, servers: Sequence[Server], round_: int = 0) -> list[Sample]:
    """Measure each with each number of streams it can take, as often as there are repetitions."""
    meters = {server.path: CpuMeter(server.pid, *server.behind) for server in servers}
    return [
        _sample(plan, server, meters[server.path], num_streams, repetition, round_)
        for repetition, num_streams, server in _turns(plan, servers)
    ]


def _turns(plan: Plan, servers: Sequence[Server]) -> Iterator[tuple[int, int, Server]]:
    for repetition in range(plan.repetitions):
        for num_streams in plan.streams:
            # Every other time in the other order.
            for server in servers[:: -1 if repetition % 2 else 1]:
                if num_streams <= server.max_streams:
                    yield repetition, num_streams, server


def _sample(plan: Plan, server: Server, meter: CpuMeter, num_streams: int, repetition: int, round_: int) -> Sample:
    load = _load(plan, server, num_streams, meter)
    cpu_s = meter.used_s()
    cpu_ms = sum(cpu_s.values()) * 1000 / max(1, load.num_requests)
    print(
        f"{server.path:>12} {num_streams:>4} {'bodies' if plan.unstreamed else 'streams'}:"
        f" {load.requests_per_s:6.1f} requests/s, TTFT p50 {load.ttft_p50_ms:.1f} ms, {cpu_ms:.2f} ms CPU"
        f" a request{f', errors: {load.errors}' if load.errors else ''}",
        flush=True,
    )
    return Sample(server.path, num_streams, repetition, load, cpu_s, round_, plan.unstreamed)


def _load(plan: Plan, server: Server, num_streams: int, meter: CpuMeter) -> LoadReport:
    """Run the client in a process of its own; the meter counts from its first request that is counted."""
    words = ["--streams", str(num_streams), "--warm-up-s", str(WARM_UP_S), "--duration-s", str(plan.duration_s)]
    words += [*plan.words, *(["--unstreamed"] if plan.unstreamed else []), *server.client_words]
    return run_client(f"{server.base_url}{plan.path}", words, meter.restart)
