"""`python -m benchmarks gateways`: one, two and four gateways behind one HAProxy.

The engine is emulated, 64 tokens at 5 ms, with more streams than the machine keeps up with. How many gateways pay
depends on the cores there are. Each number has a cluster of its own, with `bare` beside it: compare `of bare`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from functools import partial

from benchmarks.report import Conditions, Sample, write
from benchmarks.servers import ServerFailed, bare, raymux, with_gateways
from benchmarks.turns import Plan, add_options, measure

STREAMS = (256,)


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks gateways", *arguments]))
    plan = Plan(tuple(options.streams), options.repetitions, options.duration_s)
    try:
        samples = [
            sample
            for round_, number in enumerate(options.gateways)
            for sample in _measure(plan, options.port, round_, number)
        ]
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(write(conditions, samples, options.results, "gateways", "Several gateways"))
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateways", description="Several gateways.")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 2, 4], help="how many")
    add_options(parser, "gateways", streams=STREAMS, duration_s=3.0, port=8241, ports="two")
    return parser.parse_args(arguments)


def _measure(plan: Plan, port: int, round_: int, number: int) -> list[Sample]:
    with raymux(port, edit=partial(with_gateways, number)) as server, bare(port + 1) as limit:
        return measure(plan, [replace(server, path=path_of(number)), limit], round_)


def path_of(number: int) -> str:
    """What so many gateways are called in the results."""
    return f"{number} gateway{'s' if number > 1 else ''}"
