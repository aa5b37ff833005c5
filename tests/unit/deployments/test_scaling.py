from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from autoscaling.policy import ReplicaLoad
from catalog.replicas import ScalingDecision
from deployments import scaling
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
        "policy_state": None,
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changes})


def policy_of(idle_timeout_s: float, target_ongoing_requests: float) -> ServePolicy:
    return ServePolicy(idle_timeout_s, target_ongoing_requests, note=lambda *_: None)


def test_each_change_is_noted_with_its_reason() -> None:
    noted: list[tuple[str, ScalingDecision]] = []
    policy = ServePolicy(300, 2, note=lambda app, decision: noted.append((app, decision)))
    busy = {"running": {"r1": [5.0]}, "idle_s": {"r1": [0.0]}}
    policy(context(busy))
    policy(context(busy, target_num_replicas=3))
    policy(context({"running": {"r1": [0.0]}, "idle_s": {"r1": [300.0]}}))
    assert [(app, each.before, each.after, each.reason) for app, each in noted] == [
        ("model-x", 1, 3, "5 ongoing requests"),
        ("model-x", 1, 0, "idle for 300 s"),
    ]
    assert abs(noted[0][1].at_s - time.time()) < 60


def test_the_newest_report_of_each_running_replica_counts() -> None:
    metrics = {"running": {"r1": [9, 1], "r2": [0], "gone": [50]}, "idle_s": {"r1": [0, 0], "r2": [3, 4]}}
    assert replica_loads(context(metrics)) == [ReplicaLoad(1, 0.0), ReplicaLoad(0, 4)]


def test_a_replica_that_has_not_reported_is_no_idle_one() -> None:
    assert replica_loads(context({"running": {"r1": []}})) == []
    assert replica_loads(context(raw_metrics=None)) == []


def test_the_policy_answers_with_a_number_within_serves_bounds() -> None:
    policy = policy_of(idle_timeout_s=300, target_ongoing_requests=2)
    busy = {"running": {"r1": [100.0]}, "idle_s": {"r1": [0.0]}}
    idle = {"running": {"r1": [0.0]}, "idle_s": {"r1": [300.0]}}
    assert policy(context(busy))[0] == 4
    assert policy(context(idle))[0] == 0
    assert policy(context(idle, capacity_adjusted_min_replicas=1))[0] == 1


def test_a_queued_call_wakes_a_cold_variant() -> None:
    policy = policy_of(idle_timeout_s=300, target_ongoing_requests=2)
    assert policy(context(target_num_replicas=0, total_queued_requests=1))[0] == 1
    assert policy(context(target_num_replicas=0, total_queued_requests=None))[0] == 0


def test_what_a_replica_is_there_for_waits_for_none() -> None:
    idle = {"running": {"r1": [0.0]}, "idle_s": {"r1": [1.0]}}
    assert policy_of(300, 1)(context(idle, total_queued_requests=3))[0] == 1


def test_an_idle_time_that_replicas_were_told_of_counts_before_the_configured_one() -> None:
    policy = policy_of(idle_timeout_s=300, target_ongoing_requests=2)
    idle = {"running": {"r1": [0.0]}, "idle_s": {"r1": [60.0]}, "idle_timeout_s": {"r1": [50.0]}}
    assert policy(context(idle))[0] == 0
    assert policy(context({**idle, "idle_timeout_s": {"r1": [3600.0]}}))[0] == 1


def test_a_full_kv_cache_asks_for_another_replica() -> None:
    policy = policy_of(idle_timeout_s=300, target_ongoing_requests=100)
    full = {"running": {"r1": [3.0]}, "idle_s": {"r1": [0.0]}, "kv_ratio": {"r1": [0.97]}}
    assert policy(context(full))[0] == 2


def test_the_time_without_a_request_goes_on_when_the_replicas_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(scaling.time, "time", lambda: now_s)
    policy = policy_of(idle_timeout_s=300, target_ongoing_requests=2)
    idle = {"running": {"r1": [0.0]}, "idle_s": {"r1": [250.0]}}
    _, state = policy(context(idle))
    now_s += 70
    num_replicas, state = policy(context(running_replicas=[], policy_state=state))
    assert num_replicas == 1
    _, asked = policy(context(running_replicas=[], policy_state=state, total_queued_requests=1))
    now_s += 20
    assert policy(context(running_replicas=[], policy_state=state))[0] == 0
    assert policy(context(running_replicas=[], policy_state=asked))[0] == 1


def test_what_was_needed_a_moment_ago_keeps_a_replica_through_a_lull() -> None:
    policy = policy_of(idle_timeout_s=300, target_ongoing_requests=2)
    burst = {"running": {"r1": [2.0], "r2": [2.0]}, "idle_s": {"r1": [0.0], "r2": [0.0]}}
    lull = {"running": {"r1": [1.0], "r2": [0.0]}, "idle_s": {"r1": [0.0], "r2": [1.0]}}
    num_replicas, state = policy(context(burst, target_num_replicas=2))
    assert num_replicas == 2
    assert policy(context(lull, target_num_replicas=2, policy_state=state))[0] == 2
    assert policy(context(lull, target_num_replicas=2))[0] == 1
