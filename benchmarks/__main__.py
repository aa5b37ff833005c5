"""`python -m benchmarks [NAME] [options]`: runs a benchmark, or the suite; `make bench` calls this.

The suite is what performance is judged by, made to take less than 25 minutes, with the targets beside the figures at
its end. The others have make targets of their own.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.report import RESULTS

BENCHMARKS = {
    "gateway": "gateway",
    "zipf": "zipf",
    "gateways": "gateways",
    "soak": "soak",
    "vllm": "vllm_server",
    "replica_choice": "replica_choice",
    "policy_tick": "policy_tick",
    "many_models": "many_models",
    "cold_start": "cold_start",
    "settings": "settings",
    "autoscaling": "autoscaling",
    "targets": "targets",
}
# In this order, with arguments that make them short enough.
SUITE: tuple[tuple[str, ...], ...] = (
    ("gateway", "--bodies", "64", "--slow", "64"),
    ("zipf",),
    ("gateways", "--duration-s", "2"),
    ("vllm", "--duration-s", "2", "--streams", "1", "32"),
    ("replica_choice", "--loads", "0.7"),
    ("policy_tick",),
    ("many_models",),
    ("soak", "--minutes", "2"),
    ("targets",),
)


def main(arguments: list[str]) -> int:
    """Run the benchmark named first, else the suite; the worst exit status of them."""
    if arguments and not arguments[0].startswith("-"):
        name, *rest = arguments
        if name not in BENCHMARKS:
            print(f"no benchmark is named {name!r}; there is: {', '.join(BENCHMARKS)}", file=sys.stderr)
            return 2
        return _main_of(name)(rest)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The suite.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for all of them")
    options = parser.parse_args(arguments)
    return max(_run(name, [*words, "--results", str(options.results)]) for name, *words in SUITE)


def _run(name: str, words: Sequence[str]) -> int:
    """One of the suite; what goes wrong with it is not the end of the others."""
    begun_s = time.monotonic()
    print(f"\n== {name} ==", flush=True)
    try:
        code = _main_of(name)(list(words))
    except (Exception, SystemExit):
        traceback.print_exc()
        code = 1
    print(f"== {name} took {time.monotonic() - begun_s:.0f} s and ended with {code} ==", flush=True)
    return code


def _main_of(name: str) -> Callable[[list[str]], int]:
    # Imported when it runs: some import Ray, which takes seconds.
    return import_module(f"benchmarks.{BENCHMARKS[name]}").main


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
