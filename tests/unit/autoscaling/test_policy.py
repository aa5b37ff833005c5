from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.policy import UNHEARD_S, Needs, ReplicaLoad, ScalingRules, decide, num_needed

IDLE_TIMEOUT_S = 300.0


def rules(*, max_replicas: int = 8, min_replicas: int = 0, target: float = 4) -> ScalingRules:
    return ScalingRules(IDLE_TIMEOUT_S, target, max_replicas, min_replicas)


def busy(running: float) -> ReplicaLoad:
    return ReplicaLoad(running, 0.0)


def idle(idle_s: float) -> ReplicaLoad:
    return ReplicaLoad(0, idle_s)


loads = st.lists(st.builds(busy, st.integers(1, 50)) | st.builds(idle, st.floats(0, 1000)), max_size=8)
some_rules = st.builds(
    lambda low, extra, target: ScalingRules(IDLE_TIMEOUT_S, target, low + extra, low),
    st.integers(0, 3), st.integers(1, 8), st.floats(0.5, 64),
)  # fmt: skip


@given(rules=some_rules, loads=loads, num_target=st.integers(0, 20), num_queued=st.integers(0, 100))
def test_the_count_is_always_within_its_bounds(rules, loads, num_target, num_queued) -> None:
    wanted = decide(rules, loads, num_target, num_queued).num_replicas
    assert rules.min_replicas <= wanted <= rules.max_replicas


@given(rules=some_rules, loads=loads, num_target=st.integers(0, 20), num_queued=st.integers(0, 100))
def test_a_variant_with_work_never_goes_to_zero(rules, loads, num_target, num_queued) -> None:
    if num_queued or any(load.running for load in loads):
        assert decide(rules, loads, num_target, num_queued).num_replicas >= 1


@given(rules=some_rules, loads=loads.filter(bool), num_target=st.integers(0, 20))
def test_only_a_variant_idle_for_the_whole_timeout_goes_to_zero(rules, loads, num_target) -> None:
    wanted = decide(rules, loads, num_target, 0).num_replicas
    is_idle = all(load.running == 0 and load.idle_s >= IDLE_TIMEOUT_S for load in loads)
    assert (wanted == 0) == (is_idle and rules.min_replicas == 0)


@given(rules=some_rules, loads=loads.filter(bool), num_target=st.integers(1, 8), num_queued=st.integers(0, 100))
def test_replicas_leave_one_at_a_time_unless_all_are_idle(rules, loads, num_target, num_queued) -> None:
    wanted = decide(rules, loads, num_target, num_queued).num_replicas
    assert wanted >= min(num_target - 1, rules.max_replicas) or wanted == rules.min_replicas


@given(rules=some_rules, loads=loads.filter(bool), num_target=st.integers(1, 8), num_queued=st.integers(0, 100))
def test_what_stays_can_carry_the_load(rules, loads, num_target, num_queued) -> None:
    wanted = decide(rules, loads, num_target, num_queued).num_replicas
    ongoing = sum(load.running for load in loads) + num_queued
    assert wanted == rules.max_replicas or wanted * rules.target_ongoing_requests >= ongoing


@given(rules=some_rules, running=st.lists(st.integers(0, 20), min_size=1, max_size=8), num_queued=st.integers(0, 50))
def test_steady_load_leads_to_a_steady_count(rules, running, num_queued) -> None:
    """The count settles: it does not flap between two numbers while the load stays the same."""
    num_target = len(running)
    ongoing = sum(running) + num_queued
    seen = []
    for _ in range(30):
        spread = [busy(ongoing / num_target) if ongoing else idle(0) for _ in range(num_target)]
        num_target = max(1, decide(rules, spread, num_target, 0).num_replicas)
        seen.append(num_target)
    assert len(set(seen[-10:])) == 1


def test_a_cold_variant_stays_cold() -> None:
    assert decide(rules(), [], 0, 0) == (0, "cold")


def test_a_queued_call_wakes_a_cold_variant() -> None:
    assert decide(rules(), [], 0, 1) == (1, "starting")


def test_a_replica_that_starts_is_left_to_start() -> None:
    assert decide(rules(), [], 1, 0).num_replicas == 1


def test_what_was_lost_comes_back_as_long_as_it_would_have_stayed() -> None:
    assert decide(rules(), [], 2, 0, quiet_s=IDLE_TIMEOUT_S).num_replicas == 2
    forgotten_s = IDLE_TIMEOUT_S + UNHEARD_S + 1
    assert decide(rules(), [], 2, 0, quiet_s=forgotten_s) == (0, "lost, and nobody has asked since")
    assert decide(rules(), [], 2, 1, quiet_s=forgotten_s).num_replicas == 2
    assert decide(rules(min_replicas=1), [], 2, 0, quiet_s=forgotten_s).num_replicas == 1
    assert decide(rules(), [], 2, 0, quiet_s=forgotten_s, is_expected=True).num_replicas == 2


def test_a_burst_is_met_at_once_and_only_as_far_as_needed() -> None:
    assert decide(rules(target=4), [busy(17)], 1, 0).num_replicas == 5
    assert decide(rules(target=4), [busy(16)], 1, 0).num_replicas == 4
    assert decide(rules(target=4, max_replicas=3), [busy(17)], 1, 0) == (3, "17 ongoing requests; bounded")


def test_queued_calls_count_as_load() -> None:
    assert decide(rules(target=4), [busy(4)], 1, 1).num_replicas == 2


def test_the_last_replica_stays_until_the_timeout() -> None:
    assert decide(rules(), [idle(IDLE_TIMEOUT_S - 0.1)], 1, 0).num_replicas == 1
    assert decide(rules(), [idle(IDLE_TIMEOUT_S)], 1, 0) == (0, "idle for 300 s")


def test_one_busy_replica_keeps_the_variant_up() -> None:
    assert decide(rules(), [idle(9999), busy(1)], 2, 0).num_replicas >= 1


def test_a_minimum_holds_against_idleness() -> None:
    assert decide(rules(min_replicas=2), [idle(9999), idle(9999)], 2, 0).num_replicas == 2


def test_a_replica_leaves_only_when_the_rest_has_a_fifth_to_spare() -> None:
    spare = rules(target=10)
    assert decide(spare, [busy(4), busy(4)], 2, 0).num_replicas == 1
    assert decide(spare, [busy(4), busy(5)], 2, 0).num_replicas == 2


def test_no_replica_leaves_while_another_still_starts() -> None:
    assert decide(rules(), [busy(1)], 3, 0) == (3, "steady")


# Ray's known traps


def test_a_burst_is_answered_at_the_next_tick_and_its_starts_are_counted() -> None:
    first = decide(rules(), [busy(3)], num_target=1, num_queued=10)
    assert first.num_replicas == 4
    # While they start, the same requests still wait; they must not start further ones.
    assert decide(rules(), [busy(3)], num_target=4, num_queued=10).num_replicas == 4


def test_one_request_to_a_cold_variant_starts_one_replica_however_long_it_takes() -> None:
    asked = decide(rules(), [], num_target=0, num_queued=1).num_replicas
    assert asked == 1
    for _ in range(100):
        asked = decide(rules(), [], num_target=asked, num_queued=50).num_replicas
    assert asked == 1


def test_a_load_that_swings_faster_than_the_window_does_not_flap() -> None:
    needs, target, counts = Needs(), 1, set()
    for tick in range(600):
        running = 14.0 if tick // 20 % 2 == 0 else 2.0
        loads = [busy(running / target)] * target
        needs = needs.with_need(num_needed(rules(), loads, 0), float(tick), 120.0)
        target = decide(rules(), loads, target, 0, needs=needs).num_replicas
        counts.add((tick > 30, target))
    assert {count for is_settled, count in counts if is_settled} == {4}


def test_a_need_is_forgotten_after_the_window_and_not_before_half_of_it() -> None:
    needs = Needs().with_need(5, 0.0, 100.0)
    for at_s in range(1, 50):
        needs = needs.with_need(1, float(at_s), 100.0)
    assert needs.most == 5
    for at_s in range(50, 151):
        needs = needs.with_need(1, float(at_s), 100.0)
    assert needs.most == 1


def test_tokens_and_kv_cache_ask_for_replicas_too() -> None:
    tight = ScalingRules(IDLE_TIMEOUT_S, 100, 8, target_tokens=1000, target_kv_ratio=0.5)
    assert decide(tight, [ReplicaLoad(1, 0.0, tokens=2500)], 1, 0).num_replicas == 3
    assert decide(tight, [ReplicaLoad(1, 0.0, kv_ratio=0.9)], 1, 0).num_replicas == 2


def test_what_is_expected_stays_or_starts_though_idle() -> None:
    assert decide(rules(), [idle(1000)], 1, 0, is_expected=True).num_replicas == 1
    assert decide(rules(), [], 0, 0, is_expected=True).num_replicas == 1
