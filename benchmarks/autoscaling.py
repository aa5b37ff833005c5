"""`python -m benchmarks autoscaling`: what scaling policies cost on real traces, and whom they make wait.

Every policy replays the same requests in `autoscaling.simulator`, raymux's own through the functions that run in
production and Ray Serve's through its own code. Targets stand beside the figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from autoscaling.keep_alive import KeepAliveRules
from autoscaling.policy import ScalingRules
from autoscaling.simulator.cluster import ModelSize
from autoscaling.simulator.costs import Outcome, outcome
from autoscaling.simulator.oracle import oracle_gpu_s
from autoscaling.simulator.policies import FixedKeepAlive, Kpa, Learned, Policy
from autoscaling.simulator.replay import TICK_S, Replay, Run, SimulatedModel
from autoscaling.simulator.workload import DAY_S
from benchmarks.autoscaling_mix import MIXES, Mix, clusters, models
from benchmarks.autoscaling_report import Row, write
from benchmarks.ray_policy import LLM_TARGET_ONGOING_REQUESTS, RayDefault
from benchmarks.report import RESULTS, Conditions
from benchmarks.traces import TracesMissing
from catalog.project import PROJECT

# Seed 0 was looked at while defaults were chosen, so it is not among them.
SEEDS = (1, 2, 3)
WAKE_S = 3.0
MAX_REPLICAS = 10
# The default of a variant.
TARGET_ONGOING_REQUESTS = 32
# What one may spend to spare a request a cold start: 50 minutes of one GPU.
LATE_REQUEST_GPU_S = 3000.0
MIN_IDLE_S, MIN_AWAKE_IDLE_S, MAX_IDLE_S = 120.0, 30.0, 7200.0


class Contender(NamedTuple):
    """A policy by name; `wake_s` where it has the sleep tier. Those with `everywhere` run on all mixes."""

    name: str
    policy_of: Callable[[ModelSize], Policy]
    wake_s: float | None = None
    everywhere: bool = False


def _learned(size: ModelSize, wake_s: float | None = None, *, prewarms: bool = False) -> Policy:
    start_s = size.start_s if wake_s is None else wake_s
    rules = ScalingRules(300.0, TARGET_ONGOING_REQUESTS, MAX_REPLICAS, shrink_after_s=max(30.0, 2 * start_s))
    # A wake is within the objective, so no request is late for it.
    worth, least_s = (LATE_REQUEST_GPU_S, MIN_IDLE_S) if wake_s is None else (0.0, MIN_AWAKE_IDLE_S)
    return Learned(rules, KeepAliveRules(least_s, MAX_IDLE_S, start_s, worth, size.num_gpus), prewarms=prewarms)


def _fixed(_: ModelSize) -> Policy:
    return FixedKeepAlive(ScalingRules(300.0, TARGET_ONGOING_REQUESTS, MAX_REPLICAS))


CONTENDERS = (
    Contender("Ray Serve, target 2", lambda _: RayDefault(2, MAX_REPLICAS), everywhere=True),
    Contender("Ray Serve LLM", lambda _: RayDefault(LLM_TARGET_ONGOING_REQUESTS, MAX_REPLICAS), everywhere=True),
    Contender("Knative KPA", lambda size: Kpa(size.num_slots, MAX_REPLICAS, TICK_S)),
    Contender("fixed 300 s", _fixed),
    Contender("raymux", _learned, everywhere=True),
    Contender("raymux, prewarming", lambda size: _learned(size, prewarms=True)),
    Contender("fixed 300 s, sleep", _fixed, WAKE_S),
    Contender("raymux, sleep", lambda size: _learned(size, WAKE_S), WAKE_S, everywhere=True),
)


def main(arguments: list[str]) -> int:
    """Replay, print the table and write it and the plots down; 1 without traces."""
    options = _options(arguments)
    started_s = time.monotonic()
    try:
        rows, drawn = _rows(options)
    except TracesMissing as error:
        print(error, file=sys.stderr)
        return 1
    conditions = Conditions.now(" ".join(["python -m benchmarks autoscaling", *arguments]))
    print(write(conditions, rows, tuple(options.seeds), options.results, drawn))
    print(f"took {time.monotonic() - started_s:.0f} s")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks autoscaling", description="Scaling policies compared.")
    parser.add_argument("--traces", type=Path, default=PROJECT / "../shared/traces", help="folder of the traces")
    parser.add_argument("--mixes", nargs="+", choices=list(MIXES), default=list(MIXES), help="amounts of traffic")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="the table shows means over them")
    parser.add_argument("--days", type=int, choices=range(2, 9), help="days to replay; the first is not scored")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the table and plots")
    return parser.parse_args(arguments)


def _rows(options: argparse.Namespace) -> tuple[list[Row], dict[str, Run]]:
    """The outcome of each contender on each mix and seed, and the runs of the first mix and seed to draw."""
    rows, drawn = [], {}
    for name in options.mixes:
        mix = MIXES[name] if options.days is None else MIXES[name]._replace(num_days=options.days)
        for seed in options.seeds:
            made = models(mix, options.traces, seed)
            rows += [Row(name, label, seed, _bound(made, mix, wake_s)) for label, wake_s in ORACLES]
            for contender in CONTENDERS:
                if name != "medium" and not contender.everywhere:
                    continue
                run = Replay(made, clusters(mix), contender.policy_of, contender.wake_s).run(mix.num_ticks)
                figures = outcome(run, made, DAY_S, mix.num_ticks * TICK_S)
                rows.append(Row(name, contender.name, seed, figures))
                print(
                    f"{name} seed {seed} {contender.name}: {figures.gpu_hours:.0f} GPU-h", file=sys.stderr, flush=True
                )
                if name == options.mixes[0] and seed == options.seeds[0]:
                    drawn[contender.name] = run
    return rows, drawn


ORACLES = (("oracle", None), ("oracle, sleep", WAKE_S))


def _bound(made: list[SimulatedModel], mix: Mix, wake_s: float | None) -> Outcome:
    end_s = mix.num_ticks * TICK_S
    gpu_s = sum(oracle_gpu_s(model, DAY_S, end_s, wake_s) for model in made)
    return Outcome(gpu_s / 3600, float("nan"), 1.0, 1.0)
