"""`python -m benchmarks gateway`: what the way through raymux costs, next to the same engine without it and to peers.

The engine is emulated (64 tokens at 5 ms each), so that what is left to measure is the way to it: time to the first
token, requests per second and CPU. In each round the paths are measured in turn, `bare` among them; paths that are many
times slower than it have a round of their own, with fewer numbers of streams.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.environments import EnvironmentFailed
from benchmarks.gateway_plot import draw
from benchmarks.peers import PEERS, SLOW_PEERS
from benchmarks.report import Conditions, Sample, write
from benchmarks.servers import Server, ServerFailed, bare, raymux
from benchmarks.turns import Plan, add_options, measure

STREAMS, BODIES, SLOW = (1, 8, 32, 64, 256), (64, 256), (1, 64)

_Start = Callable[[], AbstractContextManager[Server]]


@dataclass(frozen=True)
class Round:
    """Servers that are up at the same time by the names of their paths, and the numbers of requests at once."""

    starts: dict[str, _Start]
    streams: tuple[int, ...]
    bodies: tuple[int, ...]


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start.

    A peer that cannot be installed or does not start is none of ours: the table says that it is missing.
    """
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks gateway", *arguments]))
    missing: list[str] = []
    try:
        samples = [
            sample
            for number, round_ in enumerate(_rounds(options))
            for sample in _measure(options, round_, number, missing)
        ]
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(write(conditions, samples, options.results, "gateway", "The way through the gateway", missing=missing))
    draw(samples, options.results)
    ours = [sample for sample in samples if sample.path not in PEERS]
    return 1 if any(sample.load.errors for sample in ours) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway", description="The cost of the gateway.")
    add = parser.add_argument
    add_options(parser, "gateway", streams=STREAMS, duration_s=2.0, port=8211, ports="twelve")
    add("--bodies", type=int, nargs="*", default=BODIES, help="the same, of requests that are not streamed")
    add("--slow", type=int, nargs="*", default=SLOW, help="those that `plain` and `litellm` are measured with")
    add("--tokens", type=int, default=64, help="of each reply")
    add("--plain", action=argparse.BooleanOptionalAction, default=True, help="measure Serve's Python proxy too")
    add("--peers", choices=PEERS, nargs="*", default=list(PEERS), help="other gateways, installed if need be")
    return parser.parse_args(arguments)


def _rounds(options: argparse.Namespace) -> list[Round]:
    """Two Ray clusters are never up at once: one that is idle takes a tenth of a core from the other."""
    port = options.port
    ours: dict[str, _Start] = {"raymux": partial(raymux, port), "bare": partial(bare, port + 1)}
    peers = {name: partial(start, port + 2 + 3 * number) for number, (name, start) in enumerate(PEERS.items())}
    fast = {name: peers[name] for name in options.peers if name not in SLOW_PEERS}
    slow = {name: peers[name] for name in options.peers if name in SLOW_PEERS}
    if options.plain:
        slow = {"plain": partial(raymux, port, plain=True), **slow}
    rounds = [Round({**ours, **fast}, tuple(options.streams), tuple(options.bodies))]
    if slow and options.slow:
        bodies = tuple(number for number in options.bodies if number in options.slow)
        rounds.append(Round({**slow, "bare": ours["bare"]}, tuple(options.slow), bodies))
    return rounds


def _measure(options: argparse.Namespace, round_: Round, number: int, missing: list[str]) -> list[Sample]:
    words = ("--tokens", str(options.tokens))
    plan = partial(Plan, repetitions=options.repetitions, duration_s=options.duration_s, words=words)
    with ExitStack() as stack:
        running = []
        for path, start in round_.starts.items():
            try:
                running.append(stack.enter_context(start()))
            except (EnvironmentFailed, ServerFailed) as error:
                if path not in PEERS:
                    raise
                missing.append(f"{path}: {str(error).strip().splitlines()[0]}")
                print(error, file=sys.stderr)
        return [
            *measure(plan(round_.streams), running, number),
            *measure(plan(round_.bodies, unstreamed=True), running, number),
        ]
