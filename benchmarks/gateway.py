"""`python -m benchmarks gateway`: what the way through raymux costs, next to the same engine without it and to peers.

The engine is emulated (64 tokens at 5 ms each), so that what is left to measure is the way to it: time to the first
token, requests per second and CPU. In each round the paths are measured in turn, `bare` among them.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks.environments import EnvironmentFailed
from benchmarks.peers import PEERS
from benchmarks.report import RESULTS, Conditions, Sample, Target, requests_ratio, write
from benchmarks.servers import Server, ServerFailed, bare, raymux
from benchmarks.turns import Plan, measure

STREAMS = (1, 8, 32, 64, 256)
TARGETS = (
    Target("requests/s at 64 streams, of bare", 64, 0.98, requests_ratio, is_least=True),
    Target(
        "TTFT p50 at 64 streams above bare, ms",
        64,
        4.0,
        lambda ours, bare: ours.load.ttft_p50_ms - bare.load.ttft_p50_ms,
    ),
    Target(
        "CPU at 64 streams above bare, ms a request",
        64,
        2.5,
        lambda ours, bare: ours.cpu_ms_per_request - bare.cpu_ms_per_request,
    ),
)


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    words = ("--tokens", str(options.tokens), *(["--unstreamed"] if options.unstreamed else []))
    plan = Plan(tuple(options.streams), options.repetitions, options.duration_s, words)
    conditions = Conditions.now(" ".join(["python -m benchmarks gateway", *arguments]))
    missing: list[str] = []
    try:
        samples = [
            sample
            for number, servers in enumerate(_rounds(options))
            for sample in _measure(plan, servers, number, missing)
        ]
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    name, title = "gateway", "The way through the gateway"
    if options.unstreamed:
        name, title = f"{name}_unstreamed", f"{title}, unstreamed"
    wanted = () if options.unstreamed else TARGETS
    print(write(conditions, samples, options.results, name, title, wanted=wanted, missing=missing))
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway", description="The cost of the gateway.")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="requests at once")
    parser.add_argument("--repetitions", type=int, default=3, help="the table shows medians over them")
    parser.add_argument("--duration-s", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--tokens", type=int, default=64, help="of each reply")
    parser.add_argument("--unstreamed", action="store_true", help="one JSON body instead of events")
    parser.add_argument("--plain", action="store_true", help="measure Serve's Python proxy too, in a round of its own")
    parser.add_argument("--peers", choices=PEERS, nargs="*", default=[], help="other gateways, installed if need be")
    parser.add_argument("--port", type=int, default=8211, help="the first of twelve ports in a row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for gateway.md and gateway.json")
    return parser.parse_args(arguments)


_Start = partial[AbstractContextManager[Server]]


def _rounds(options: argparse.Namespace) -> list[list[_Start]]:
    """Two Ray clusters are never up at once: one that is idle takes a tenth of a core from the other."""
    port = options.port
    peers = [partial(PEERS[name], port + 2 + 3 * number) for number, name in enumerate(options.peers)]
    rounds = [[partial(raymux, port), partial(bare, port + 1), *peers]]
    return [*rounds, [partial(raymux, port, plain=True), partial(bare, port + 1)]] if options.plain else rounds


def _measure(plan: Plan, starts: Sequence[_Start], number: int, missing: list[str]) -> list[Sample]:
    with ExitStack() as stack:
        running = []
        for start in starts:
            try:
                running.append(stack.enter_context(start()))
            except (EnvironmentFailed, ServerFailed) as error:
                if start.func not in PEERS.values():
                    raise
                # A peer is not ours to mend: the page says that it is missing.
                missing.append(str(error))
                print(error, file=sys.stderr)
        return measure(plan, running, number)
