"""`python -m benchmarks soak`: minutes at a share of what raymux can do at most, and what grows meanwhile.

The engine is emulated, 64 tokens at 5 ms. The most is what 256 streams get done just before. Requests then arrive at
random, whatever became of those before them; each minute is a client's of its own, so connections come and go too.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import psutil

from benchmarks.load import LoadReport, run_client
from benchmarks.processes import kind_of
from benchmarks.report import RESULTS, Conditions, save
from benchmarks.servers import Server, ServerFailed, raymux

MOST_STREAMS = 256
# More than are ever under way at once, lest an arrival find no connection.
MAX_AT_ONCE = 1024
KINDS = ("Gateway", "Engine", "ModelManager", "ServeController", "haproxy")
# Of the slopes: caches fill, and threads start, in the first minute.
SETTLED = 1


@dataclass(frozen=True)
class Minute:
    """What one saw; memory (USS) and open files at its end, by kind of process, `all` for the sum of all processes."""

    number: int
    rate: float
    load: LoadReport
    memory_mib: dict[str, float]
    num_fds: dict[str, int]


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks soak", *arguments]))
    try:
        with raymux(options.port) as server:
            minutes = _soak(options, server)
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    rate = minutes[0].rate
    what = (
        f"{rate:.0f} requests/s, {options.share:.0%} of the {rate / options.share:.0f} that {MOST_STREAMS} streams got"
    )
    parts = ["# Soak", f"{conditions.text()}.", f"{what}; {options.minute_s:.0f} s a minute.", table(minutes)]
    text = "\n\n".join([*parts, f"{drift_text(minutes)}\n"])
    save(options.results, "soak", text, conditions, minutes)
    _draw(minutes, options.results)
    print(text)
    return 1 if any(minute.load.errors for minute in minutes) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks soak", description="Minutes of load.")
    parser.add_argument("--minutes", type=int, default=10, help="how many; at least one")
    parser.add_argument("--minute-s", type=float, default=60.0, help="how long one is; shorter to try it out")
    parser.add_argument("--share", type=float, default=0.7, help="of the most requests/s")
    parser.add_argument("--port", type=int, default=8246)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for soak.md, .json and .png")
    return parser.parse_args(arguments)


def _soak(options: argparse.Namespace, server: Server) -> list[Minute]:
    words = ["--streams", str(MOST_STREAMS), "--warm-up-s", "3", "--duration-s", "8"]
    rate = options.share * run_client(server.url, words).requests_per_s
    print(f"{rate:.0f} requests/s", flush=True)
    return [_minute(server, number, rate, options.minute_s) for number in range(1, options.minutes + 1)]


def _minute(server: Server, number: int, rate: float, duration_s: float) -> Minute:
    words = ["--rate", str(rate), "--streams", str(MAX_AT_ONCE), "--duration-s", str(duration_s)]
    load = run_client(server.url, words)
    # The client's connections are closed by then.
    time.sleep(0.5)
    minute = Minute(number, rate, load, *_footprint(server))
    print(
        f"minute {number}: {load.num_requests} requests, TTFT p99 {load.ttft_p99_ms:.1f} ms,"
        f" {minute.memory_mib['all']:.0f} MiB, {minute.num_fds['all']} files{load.errors or ''}",
        flush=True,
    )
    return minute


def _footprint(server: Server) -> tuple[dict[str, float], dict[str, int]]:
    memory_mib: defaultdict[str, float] = defaultdict(float)
    num_fds: defaultdict[str, int] = defaultdict(int)
    for process in psutil.Process(server.pid).children(recursive=True):
        try:
            kind = kind_of(process.cmdline()).rpartition(":")[2]
            used_mib, files = process.memory_full_info().uss / 2**20, process.num_fds()
        except psutil.NoSuchProcess:
            continue
        for each in (kind, "all") if kind in KINDS else ("all",):
            memory_mib[each] += used_mib
            num_fds[each] += files
    return dict(memory_mib), dict(num_fds)


def table(minutes: Sequence[Minute]) -> str:
    """A row for each minute."""
    kinds = [kind for kind in (*KINDS, "all") if kind in minutes[0].memory_mib]
    head = ["Minute", "requests", "failed", "TTFT p50, ms", "p99", "between reads p99, ms"]
    lines = [[*head, *(f"{kind}, MiB (files)" for kind in kinds)], ["---:"] * (len(head) + len(kinds))]
    for minute in minutes:
        load = minute.load
        times = [f"{value:.1f}" for value in (load.ttft_p50_ms, load.ttft_p99_ms, load.gap_p99_ms)]
        used = [f"{minute.memory_mib.get(kind, 0.0):.1f} ({minute.num_fds.get(kind, 0)})" for kind in kinds]
        lines.append([str(minute.number), str(load.num_requests), str(sum(load.errors.values())), *times, *used])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def drift_text(minutes: Sequence[Minute]) -> str:
    """The slopes of what must not grow."""
    parts = {
        "TTFT p99": f"{slope(minutes, lambda minute: minute.load.ttft_p99_ms):+.2f} ms",
        "memory of all processes": f"{slope(minutes, lambda minute: minute.memory_mib['all']):+.2f} MiB",
        "of the gateway": f"{slope(minutes, lambda minute: minute.memory_mib.get('Gateway', 0.0)):+.2f} MiB",
        "open files": f"{slope(minutes, lambda minute: minute.num_fds['all']):+.2f}",
    }
    return "By minute, from the second one on: " + ", ".join(f"{name} {text}" for name, text in parts.items()) + "."


def slope(minutes: Sequence[Minute], value: Callable[[Minute], float]) -> float:
    """How much it grows in a minute, by least squares over all but the first; 0 where there are too few."""
    settled = minutes[SETTLED:]
    if len(settled) < 2:
        return 0.0
    return linear_regression([each.number for each in settled], [value(each) for each in settled]).slope


def _draw(minutes: Sequence[Minute], folder: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    numbers = [minute.number for minute in minutes]
    figure, (times, memory) = pyplot.subplots(1, 2, figsize=(11, 4))
    for label in ("ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms"):
        times.plot(numbers, [getattr(minute.load, label) for minute in minutes], marker="o", label=label[5:8])
    for kind in (kind for kind in KINDS if kind in minutes[0].memory_mib):
        memory.plot(numbers, [minute.memory_mib.get(kind, 0.0) for minute in minutes], marker="o", label=kind)
    times.set(xlabel="minute", ylabel="TTFT, ms", ylim=(0, None))
    memory.set(xlabel="minute", ylabel="memory (USS), MiB", ylim=(0, None))
    for axis in (times, memory):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / "soak.png", dpi=90)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
