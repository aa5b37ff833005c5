"""`python -m benchmarks gateways`: one, two and four gateways, and a soak.

The engine is emulated, 64 tokens at 5 ms. How many gateways pay depends on the cores there are; the soak looks for what
grows: memory, open files, and the slowest hundredth of first tokens, minute by minute, at a share of what the server
can do at most.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from benchmarks.load import LoadReport, run_client
from benchmarks.processes import kind_of
from benchmarks.report import RESULTS, Conditions, Sample, cpu_table, save, table
from benchmarks.servers import Server, ServerFailed, bare, raymux, with_gateways
from benchmarks.turns import Plan, measure

STREAMS = 64
# At once, of requests that arrive at random: more than ever are.
MAX_AT_ONCE = 512


@dataclass(frozen=True)
class Minute:
    """One of the soak; memory and open files by kind of process, as they were at its end."""

    number: int
    load: LoadReport
    memory_mib: dict[str, float]
    num_fds: dict[str, int]


def main(arguments: list[str]) -> int:
    """Measure, print the tables and write them down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks gateways", *arguments]))
    plan = Plan((STREAMS,), options.repetitions, options.duration_s)
    try:
        samples = [
            each for number, num in enumerate(options.gateways) for each in _gateways(options, plan, number, num)
        ]
        best = max((each.load.requests_per_s for each in samples if each.path == _name(1)), default=0.0)
        minutes = _soak(options, best * options.share) if options.minutes else []
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    parts = ["# Several gateways, and a soak", f"{conditions.text()}.", table(samples), cpu_table(samples)]
    if minutes:
        parts += [f"Soak: {best * options.share:.0f} requests/s, {options.share:.0%} of the most.", soak_table(minutes)]
    text = "\n\n".join(parts) + "\n"
    save(options.results, "gateways", text, conditions, [*samples, *minutes])
    print(text)
    return 1 if any(each.load.errors for each in [*samples, *minutes]) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateways", description="Several gateways, and a soak.")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 2, 4], help="how many; 1 must be among them")
    parser.add_argument("--repetitions", type=int, default=3, help="the table shows medians over them")
    parser.add_argument("--duration-s", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--minutes", type=int, default=10, help="of the soak; 0 for none")
    parser.add_argument("--share", type=float, default=0.7, help="of the most requests/s that one gateway has done")
    parser.add_argument("--port", type=int, default=8241, help="the first of two ports in a row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for gateways.md and gateways.json")
    return parser.parse_args(arguments)


def _name(number: int) -> str:
    return f"{number} gateway{'s' if number > 1 else ''}"


def _gateways(options: argparse.Namespace, plan: Plan, round_: int, number: int) -> list[Sample]:
    with raymux(options.port, edit=partial(with_gateways, number)) as server, bare(options.port + 1) as limit:
        return measure(plan, [replace(server, path=_name(number)), limit], round_)


def _soak(options: argparse.Namespace, rate: float) -> list[Minute]:
    words = ["--rate", str(rate), "--streams", str(MAX_AT_ONCE), "--duration-s", "60"]
    minutes = []
    with raymux(options.port) as server:
        run_client(server.url, [*words[:-1], "10"])
        for number in range(1, options.minutes + 1):
            load = run_client(server.url, words)
            memory_mib, num_fds = _footprint(server)
            minutes.append(Minute(number, load, memory_mib, num_fds))
            print(f"minute {number}: p99 {load.ttft_p99_ms:.0f} ms, {memory_mib}, {num_fds}", flush=True)
    return minutes


def _footprint(server: Server) -> tuple[dict[str, float], dict[str, int]]:
    memory_mib: dict[str, float] = {}
    num_fds: dict[str, int] = {}
    for process in psutil.Process(server.pid).children(recursive=True):
        try:
            kind = kind_of(process.cmdline()).rpartition(":")[2]
            if kind in ("Gateway", "ModelManager", "Engine", "haproxy", "ServeController"):
                memory_mib[kind] = memory_mib.get(kind, 0.0) + round(process.memory_info().rss / 2**20, 1)
                num_fds[kind] = num_fds.get(kind, 0) + process.num_fds()
        except psutil.NoSuchProcess:
            continue
    return memory_mib, num_fds


def soak_table(minutes: Sequence[Minute]) -> str:
    """A row for each minute."""
    kinds = sorted(minutes[0].memory_mib)
    head = ["Minute", "requests", "failed", "TTFT p50, ms", "p99", *(f"{kind}, MiB (files)" for kind in kinds)]
    lines = [head, ["---:"] * len(head)]
    for minute in minutes:
        load = minute.load
        cells = [f"{minute.memory_mib.get(kind, 0):.0f} ({minute.num_fds.get(kind, 0)})" for kind in kinds]
        failed = sum(load.errors.values())
        times = [f"{load.ttft_p50_ms:.1f}", f"{load.ttft_p99_ms:.1f}"]
        lines.append([str(minute.number), str(load.num_requests), str(failed), *times, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
