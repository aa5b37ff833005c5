from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.lifecycle import MAX_BACKOFF_S, backoff_s, expected_start_s, variant_state
from catalog.replicas import ReplicaState, VariantState
from tests.unit.builders import report

S, V = ReplicaState, VariantState


@pytest.mark.parametrize(
    ("states", "is_asked_for", "is_stopped", "has_failed", "expected"),
    [
        ([], False, False, False, V.COLD),
        ([], True, False, False, V.SCHEDULING),
        ([S.STARTING], True, False, False, V.STARTING),
        ([S.STARTING], False, False, False, V.STARTING),
        ([S.READY], False, False, False, V.READY),
        ([S.READY, S.STARTING, S.DRAINING], True, False, True, V.READY),
        ([S.DRAINING], False, False, False, V.DRAINING),
        ([S.DRAINING], True, False, False, V.SCHEDULING),
        ([S.GONE], False, False, False, V.COLD),
        ([S.FAILED], False, False, True, V.FAILED),
        ([], False, False, True, V.FAILED),
        ([], True, False, True, V.SCHEDULING),
        ([], False, True, False, V.STOPPED),
        ([], False, True, True, V.STOPPED),
    ],
)
def test_the_state_of_a_variant(states, is_asked_for, is_stopped, has_failed, expected) -> None:
    replicas = [report(f"r{index}", state) for index, state in enumerate(states)]
    found = variant_state(
        replicas, is_asked_for=is_asked_for, is_stopped=is_stopped, is_deployed=False, has_failed=has_failed
    )
    assert found is expected


@pytest.mark.parametrize("states", [[], [S.READY, S.STARTING], [S.DRAINING], [S.GONE]])
def test_a_stopped_variant_drains_while_it_is_deployed_whatever_is_heard_of_it(states: list[ReplicaState]) -> None:
    replicas = [report(f"r{index}", state) for index, state in enumerate(states)]
    flags = {"is_asked_for": True, "is_stopped": True, "has_failed": True}
    assert variant_state(replicas, is_deployed=True, **flags) is V.DRAINING
    assert variant_state(replicas, is_deployed=False, **flags) is V.STOPPED


@given(
    states=st.lists(st.sampled_from(list(S)), max_size=5),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_a_variant_is_ready_exactly_when_a_replica_is_and_nobody_stopped_it(
    states: list[ReplicaState], flags: tuple
) -> None:
    replicas = [report(f"r{index}", state) for index, state in enumerate(states)]
    asked_for, stopped, deployed, failed = flags
    found = variant_state(replicas, is_asked_for=asked_for, is_stopped=stopped, is_deployed=deployed, has_failed=failed)
    assert (found is V.READY) == (S.READY in states and not stopped)


def test_the_wait_doubles_with_each_failure() -> None:
    assert [backoff_s(count, 5) for count in (1, 2, 3, 4)] == [5, 10, 20, 40]


@given(num_failures=st.integers(0, 10**9), first_s=st.floats(0.1, 600))
def test_the_wait_is_bounded_and_never_shrinks(num_failures: int, first_s: float) -> None:
    assert 0 < backoff_s(num_failures, first_s) <= MAX_BACKOFF_S
    assert backoff_s(num_failures, first_s) <= backoff_s(num_failures + 1, first_s)


def test_the_first_start_is_the_first_estimate() -> None:
    assert expected_start_s(None, 12.5) == 12.5


@given(previous_s=st.floats(0, 1e4), newest_s=st.floats(0, 1e4))
def test_an_estimate_moves_towards_the_newest_start_and_not_past_it(previous_s: float, newest_s: float) -> None:
    found = expected_start_s(previous_s, newest_s)
    assert min(previous_s, newest_s) - 1e-9 <= found <= max(previous_s, newest_s) + 1e-9
