"""`python -m benchmarks policy_tick`: how long the Serve controller is busy deciding for many models, at each tick.

Serve's own autoscaling state of each model, as the controller keeps it, with one replica that has reported; raymux's
policy beside Ray's default one. No cluster runs. Private imports, of Ray 2.60: there is no public way to make a tick.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from pathlib import Path

from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
from ray.serve._private.common import DeploymentID, ReplicaID, ReplicaMetricReport, TimeStampedValue
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from benchmarks.report import RESULTS, Conditions

TARGET_ONGOING_REQUESTS = 32
# As `deployments.applications` sets them: a report holds the last two seconds, a value for each second.
LOOK_BACK_PERIOD_S, METRICS_INTERVAL_S = 2, 1
# Every tenth model is busy, the others are idle for less than their idle time: nothing changes.
BUSY = {"running": 8.0, "idle_s": 0.0, "idle_timeout_s": 300.0, "kv_ratio": 0.2}
IDLE = {"running": 0.0, "idle_s": 60.0, "idle_timeout_s": 300.0, "kv_ratio": 0.0}
POLICIES = {
    "raymux": AutoscalingPolicy(
        policy_function="deployments.scaling:ServePolicy",
        policy_kwargs={"idle_timeout_s": 300.0, "target_ongoing_requests": TARGET_ONGOING_REQUESTS},
    ),
    "Ray Serve's default": AutoscalingPolicy(),
}


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down."""
    options = _options(arguments)
    conditions = Conditions.now(" ".join(["python -m benchmarks policy_tick", *arguments]))
    # Serve logs two lines for each model with a policy of its own.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    fleets = {name: _fleet(policy, options.models) for name, policy in POLICIES.items()}
    ticks_ms: dict[str, list[float]] = {name: [] for name in fleets}
    for _ in range(options.repetitions):
        for name, fleet in fleets.items():
            ticks_ms[name].append(_tick_ms(fleet))
    print(_write(conditions, options.models, ticks_ms, options.results))
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks policy_tick", description="Decisions for many models.")
    parser.add_argument("--models", type=int, default=1000, help="models with one replica each")
    parser.add_argument("--repetitions", type=int, default=50, help="ticks of each policy, in turn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for policy_tick.md")
    return parser.parse_args(arguments)


def _fleet(policy: AutoscalingPolicy, num_models: int) -> list[DeploymentAutoscalingState]:
    config = AutoscalingConfig(
        min_replicas=0, max_replicas=4, target_ongoing_requests=TARGET_ONGOING_REQUESTS, policy=policy,
        look_back_period_s=LOOK_BACK_PERIOD_S, metrics_interval_s=METRICS_INTERVAL_S,
    )  # fmt: skip
    info = DeploymentInfo(DeploymentConfig(autoscaling_config=config), None, 0, "")  # pyright: ignore[reportArgumentType]
    return [_model(info, number) for number in range(num_models)]


def _model(info: DeploymentInfo, number: int) -> DeploymentAutoscalingState:
    """What the controller knows of a model with one replica, whose report has just come."""
    deployment = DeploymentID("Engine", f"model-{number}")
    state = DeploymentAutoscalingState(deployment)
    state.register(info, 1)
    replica = ReplicaID(f"replica-{number}", deployment)
    state.update_running_replica_ids([replica])
    load, now_s = IDLE if number % 10 else BUSY, time.time()
    times_s = (now_s - METRICS_INTERVAL_S, now_s)
    series = {name: [TimeStampedValue(each_s, value) for each_s in times_s] for name, value in load.items()}
    state.record_request_metrics_for_replica(ReplicaMetricReport(replica, series, now_s))
    return state


def _tick_ms(fleet: list[DeploymentAutoscalingState]) -> float:
    """CPU time of one tick: whoever else is on the machine does not count."""
    begun_s = time.thread_time()
    for state in fleet:
        state.get_decision_num_replicas(1)
    return (time.thread_time() - begun_s) * 1000


def _write(conditions: Conditions, num_models: int, ticks_ms: dict[str, list[float]], folder: Path) -> str:
    """Write `policy_tick.md`. Returns the Markdown."""
    lines = ["| Policy | CPU of a tick, ms (median) | p95 | of a model, µs |", "| --- | ---: | ---: | ---: |"]
    for name, each_ms in ticks_ms.items():
        median_ms, p95_ms = statistics.median(each_ms), statistics.quantiles(each_ms, n=20)[-1]
        lines.append(f"| {name} | {median_ms:.1f} | {p95_ms:.1f} | {median_ms * 1000 / num_models:.1f} |")
    title = f"# A tick of the scaling policy for {num_models:,} models"
    text = "\n\n".join([title, f"{conditions.text()}.", "\n".join(lines)]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy_tick.md").write_text(text, encoding="utf-8")
    return text
