from __future__ import annotations

import numpy as np
import pytest

from autoscaling.keep_alive import KeepAliveRules
from autoscaling.policy import ScalingRules
from autoscaling.simulator.cluster import Cluster, Interval, ModelSize, NodeType
from autoscaling.simulator.costs import attainment, outcome, union_s
from autoscaling.simulator.oracle import oracle_gpu_s
from autoscaling.simulator.policies import FixedKeepAlive, Learned
from autoscaling.simulator.replay import TICK_S, Replay, SimulatedModel
from autoscaling.simulator.workload import DAY_S, RateWindow, arrivals, workload

NODE = NodeType("L40S", num_gpus=2, host_memory_gb=100, usd_per_gpu_hour=2.0)
SIZE = ModelSize("8B", "L40S", 1, 16, start_s=60, prefill_s_per_token=0.0, decode_s_per_token=0.0, fixed_start_s=40)
NUM_TICKS = 360
END_S = NUM_TICKS * TICK_S


def model(arrival_s: list[float], service_s: float = 5.0, size: ModelSize = SIZE) -> SimulatedModel:
    times = np.array(arrival_s, dtype=np.float64)
    load = workload(times, np.full(len(times), service_s), TICK_S, NUM_TICKS)
    return SimulatedModel(size, load, patience_s=5.0)


def fixed(idle_s: float = 300.0) -> FixedKeepAlive:
    return FixedKeepAlive(ScalingRules(idle_s, 32, 4))


def replayed(models: list[SimulatedModel], policy=fixed, num_nodes: int = 1, wake_s: float | None = None):
    made = Replay(models, [Cluster(NODE, num_nodes)], lambda _: policy(), wake_s).run(NUM_TICKS)
    return made, outcome(made, models, 0.0, END_S)


def test_a_cold_request_waits_for_a_start_and_the_gpu_is_held_until_the_idle_time_is_over() -> None:
    run, figures = replayed([model([100.0])])
    assert run.late == [[0]]
    # Started at 100 s; it ran from 160 to 165 s, then idled for 300 s, give or take a tick.
    assert figures.gpu_hours * 3600 == pytest.approx(365, abs=2 * TICK_S)
    assert (figures.request_attainment, figures.model_attainment) == (0.0, 0.0)


def test_a_request_that_finds_a_warm_replica_is_in_time() -> None:
    run, _ = replayed([model([100.0, 300.0, 500.0])])
    assert run.late == [[0]]
    run, _ = replayed([model([100.0, 1000.0])])
    assert run.late == [[0, 1]]


def test_with_the_sleep_tier_only_the_first_start_is_late() -> None:
    run, figures = replayed([model([100.0, 1000.0, 2000.0])], wake_s=3.0)
    assert run.late == [[0]]
    assert figures.node_usd > 0


def test_models_that_want_the_same_gpus_wait_for_each_other() -> None:
    three = [model([100.0]), model([100.0]), model([100.0])]
    run, _ = replayed(three)
    assert run.late == [[0], [0], [0]]
    _, alone = replayed(three[:1])
    _, together = replayed(three)
    assert together.gpu_hours <= 3 * alone.gpu_hours * 1.2


def test_starts_on_one_node_share_its_bandwidth() -> None:
    cluster = Cluster(NODE, 1)
    first, second = cluster.start(SIZE, 0.0), cluster.start(SIZE, 0.0)
    assert first is not None
    assert second is not None
    assert (first.ready_s, second.ready_s) == (60.0, 80.0)
    assert cluster.start(SIZE, 0.0) is None


def test_the_oracle_is_never_dearer_than_a_policy_that_serves_all() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        made = model(sorted(rng.uniform(0, END_S - 100, 40).tolist()))
        _, figures = replayed([made], policy=lambda: fixed(200.0))
        assert oracle_gpu_s(made, 0.0, END_S) <= figures.gpu_hours * 3600 + TICK_S
        assert oracle_gpu_s(made, 0.0, END_S, 3.0) <= oracle_gpu_s(made, 0.0, END_S)


def test_a_learned_idle_time_bridges_the_pauses_that_it_has_seen() -> None:
    steady = model([float(at) for at in range(100, 3500, 400)])

    def learned() -> Learned:
        rules = ScalingRules(300.0, 32, 4)
        return Learned(rules, KeepAliveRules(60, 7200, SIZE.start_s, 3000.0), prewarms=False)

    with_fixed, _ = replayed([steady], policy=lambda: fixed(300.0))
    with_learned, _ = replayed([steady], policy=learned)
    assert len(with_learned.late[0]) < len(with_fixed.late[0])


def test_a_trace_is_replayed_at_its_scaled_rate_and_silent_windows_stay_silent() -> None:
    windows = [RateWindow(0.0, 10.0, "G", 1.0), RateWindow(DAY_S, 10.0, "W", 0.8)]
    times = arrivals(windows, 0.1, np.random.default_rng(1))
    assert len(times) == pytest.approx(2 * 600, rel=0.2)
    assert not np.any((times > 600) & (times < DAY_S))
    assert np.all(np.diff(times) >= 0)


def test_attainment_by_request_and_by_model_and_node_time() -> None:
    assert attainment([90, 10, 0], [0, 5, 0]) == (0.95, 0.75)
    assert attainment([0], [0]) == (1.0, 1.0)
    # Two intervals that overlap with the five minutes that a node stays are one.
    assert union_s([Interval(0, 100, 1), Interval(350, 400, 1)], 0, 10_000) == 700
