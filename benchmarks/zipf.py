"""`python -m benchmarks zipf`: many streams over many models, next to servers of the same engine without raymux.

Twenty models with an emulated engine each, 64 tokens at 5 ms; which one a request asks for follows Zipf's law. `bare` is
one server for all of them, `bare-each` one for each, as models need it that do not fit into one engine.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import Any

from benchmarks.load import model_names, run_client
from benchmarks.report import Conditions, write
from benchmarks.servers import PROBE, Server, ServerFailed, bare, bare_each, deployment, raymux
from benchmarks.turns import Plan, add_options, measure

MODEL = str(PROBE["model"])


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = model_names(MODEL, options.models)
    words = ("--model", MODEL, "--models", str(options.models))
    conditions = Conditions.now(" ".join(["python -m benchmarks zipf", *arguments]))
    try:
        with ExitStack() as stack:
            edit = partial(_with_models, names)
            probe = {**PROBE, "model": names[0]}
            server = stack.enter_context(raymux(options.port, probe=probe, edit=edit))
            _start(server, names)
            servers = [server, stack.enter_context(bare(options.port + 1))]
            servers.append(stack.enter_context(bare_each(options.port + 2, options.models)))
            samples = measure(Plan(tuple(options.streams), options.repetitions, options.duration_s, words), servers)
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(write(conditions, samples, options.results, "zipf", f"{options.models} models"))
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks zipf", description="Many streams over many models.")
    parser.add_argument("--models", type=int, default=20, help="each with an engine of its own")
    add_options(parser, "zipf", streams=[256], duration_s=4.0, port=8231, ports="22")
    return parser.parse_args(arguments)


def _with_models(names: list[str], document: dict[str, Any]) -> None:
    deployment(document, "Gateway")["user_config"]["defaults"] = {"chat": names[0]}
    catalog = deployment(document, "ModelManager")["user_config"]
    (model,) = catalog["models"]
    catalog["models"] = [{**deepcopy(model), "name": name} for name in names]


def _start(server: Server, names: list[str]) -> None:
    """Have every model up: one request each. Raises ServerFailed."""
    for name in names:
        report = run_client(server.url, ["--model", name, "--streams", "1", "--duration-s", "0.1"])
        if report.errors:
            raise ServerFailed(f"{name} did not start: {report.errors}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
