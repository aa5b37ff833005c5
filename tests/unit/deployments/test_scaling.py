from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autoscaling.policy import ReplicaLoad
from deployments.scaling import ServePolicy, replica_loads


def context(metrics: dict[str, dict[str, list[float]]] | None = None, **changes: Any) -> Any:
    """The parts of Serve's AutoscalingContext that the policy reads."""
    raw = {
        name: {replica: [SimpleNamespace(value=value) for value in values] for replica, values in series.items()}
        for name, series in (metrics or {}).items()
    }
    fields = {
        "raw_metrics": raw, "running_replicas": ["r1", "r2"], "target_num_replicas": 1, "total_queued_requests": 0,
        "capacity_adjusted_min_replicas": 0, "capacity_adjusted_max_replicas": 4, "app_name": "model-x",
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def test_the_newest_report_of_each_running_replica_counts() -> None:
    metrics = {"running": {"r1": [9, 1], "r2": [0], "gone": [50]}, "idle_s": {"r1": [0, 0], "r2": [3, 4]}}
    assert replica_loads(context(metrics)) == [ReplicaLoad(1, 0.0), ReplicaLoad(0, 4)]


def test_a_replica_that_has_not_reported_is_no_idle_one() -> None:
    assert replica_loads(context({"running": {"r1": []}})) == []
    assert replica_loads(context(raw_metrics=None)) == []


def test_the_policy_answers_with_a_number_within_serves_bounds() -> None:
    policy = ServePolicy(idle_timeout_s=300, target_ongoing_requests=2)
    busy = {"running": {"r1": [100.0]}, "idle_s": {"r1": [0.0]}}
    idle = {"running": {"r1": [0.0]}, "idle_s": {"r1": [300.0]}}
    assert policy(context(busy)) == (4, {})
    assert policy(context(idle)) == (0, {})
    assert policy(context(idle, capacity_adjusted_min_replicas=1)) == (1, {})


def test_a_queued_call_wakes_a_cold_variant() -> None:
    policy = ServePolicy(idle_timeout_s=300, target_ongoing_requests=2)
    assert policy(context(target_num_replicas=0, total_queued_requests=1)) == (1, {})
    assert policy(context(target_num_replicas=0, total_queued_requests=None)) == (0, {})
