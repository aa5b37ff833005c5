"""`python -m benchmarks [NAME] [options]`: runs a benchmark, or all of them; `make bench` calls this."""

from __future__ import annotations

import sys

from benchmarks import (
    autoscaling,
    cold_start,
    gateway,
    gateways,
    many_models,
    policy_tick,
    replica_choice,
    settings,
    vllm_server,
    zipf,
)
from benchmarks.peers import PEERS

BENCHMARKS = {
    "gateway": gateway.main,
    "cold_start": cold_start.main,
    "autoscaling": autoscaling.main,
    "many_models": many_models.main,
    "policy_tick": policy_tick.main,
    "settings": settings.main,
    "zipf": zipf.main,
    "gateways": gateways.main,
    "replica_choice": replica_choice.main,
    "vllm": vllm_server.main,
}

# What performance is judged by; each ends with its targets and what was measured.
JUDGED = (
    ["gateway", "--plain", "--peers", *PEERS],
    ["gateway", "--unstreamed", "--streams", "64"],
    ["zipf"],
    ["gateways"],
    ["vllm"],
    ["replica_choice"],
)


def main(arguments: list[str]) -> int:
    """Run the benchmark named first, else those that performance is judged by; the worst exit status of them."""
    if arguments and not arguments[0].startswith("-"):
        name, *rest = arguments
        if name not in BENCHMARKS:
            print(f"no benchmark is named {name!r}; there is: {', '.join(BENCHMARKS)}", file=sys.stderr)
            return 2
        return BENCHMARKS[name](rest)
    return max(BENCHMARKS[name]([*words, *arguments]) for name, *words in JUDGED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
