"""What is told of a model is told once, and only when it has come to stand elsewhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.notices import AT_REST_S, MAX_REASON_CHARS, Notice, Standing, notice, standing
from catalog.replicas import VariantState, VariantStatus
from catalog.webhooks import NoticeType
from tests.unit.builders import CHAT, status

CPU, H100 = f"{CHAT}@CPU", f"{CHAT}@H100:4"
COLD, READY, FAILED, STOPPED = VariantState.COLD, VariantState.READY, VariantState.FAILED, VariantState.STOPPED
ON_ITS_WAY = (VariantState.SCHEDULING, VariantState.STARTING, VariantState.DRAINING)


def told(*steps: tuple[float, list[VariantStatus]], before: Standing = Standing.COLD) -> list[NoticeType]:
    """The types of notices as a model goes through the steps: a time, and its variants then."""
    types: list[NoticeType] = []
    for now_s, variants in steps:
        after = standing(variants, now_s) or before
        due = notice(CHAT, variants, before, after, now_s)
        types += [due.type] if due else []
        before = after
    return types


def steps(*states: VariantState) -> list[tuple[float, list[VariantStatus]]]:
    """One variant that stays in each state for long enough to be at rest."""
    return [(100.0 * (n + 1), [status(state, since_s=100.0 * n)]) for n, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "types"),
    [
        ([COLD, *ON_ITS_WAY[:2], READY], [NoticeType.READY]),
        ([COLD, READY, VariantState.DRAINING, COLD], [NoticeType.READY, NoticeType.SCALED_TO_ZERO]),
        ([READY, READY], [NoticeType.READY]),
        ([READY, VariantState.DRAINING, VariantState.STARTING, READY], [NoticeType.READY]),
        ([READY, STOPPED, COLD, READY], [NoticeType.READY, NoticeType.READY]),
        ([VariantState.STARTING, FAILED, VariantState.SCHEDULING, FAILED, VariantState.STARTING, FAILED],
         [NoticeType.FAILED]),
        ([FAILED, VariantState.STARTING, READY, FAILED], [NoticeType.FAILED, NoticeType.READY, NoticeType.FAILED]),
        ([FAILED, COLD, VariantState.STARTING, FAILED], [NoticeType.FAILED, NoticeType.FAILED]),
        ([COLD, COLD, STOPPED, COLD], []),
    ],
)  # fmt: skip
def test_a_life_is_told(states: list[VariantState], types: list[NoticeType]) -> None:
    assert told(*steps(*states)) == types


def test_a_replica_that_dies_and_comes_back_is_not_told() -> None:
    lives = [status(READY, since_s=0)]
    dead = [status(COLD, since_s=50)]
    again = [status(VariantState.STARTING, since_s=50 + AT_REST_S - 1)]
    assert told((10, lives), (50, dead), (50 + AT_REST_S - 1, dead), (70, again), (80, lives)) == [NoticeType.READY]


def test_a_model_that_stays_without_replicas_has_scaled_to_zero() -> None:
    cold = [status(COLD, since_s=50)]
    assert told((50, cold), (50 + AT_REST_S, cold), (90, cold), before=Standing.READY) == [NoticeType.SCALED_TO_ZERO]


def test_a_second_variant_changes_nothing_while_one_is_ready() -> None:
    first, second = status(READY, CPU), status(COLD, H100)
    both = [first, status(READY, H100, since_s=20)]
    failed = [first, status(FAILED, H100, since_s=40)]
    assert told((10, [first, second]), (20, both), (30, [first, second]), (40, failed)) == [NoticeType.READY]


def test_the_last_one_to_leave_scales_the_model_to_zero_whatever_failed_before() -> None:
    variants = [status(COLD, CPU, since_s=100), status(FAILED, H100, since_s=40)]
    assert told((100, variants), (200, variants), before=Standing.READY) == [NoticeType.SCALED_TO_ZERO]


def test_a_new_manager_repeats_nothing_and_tells_what_happened_meanwhile() -> None:
    unknown = [status(COLD, since_s=1000)]
    heard = [status(READY, since_s=1002)]
    assert told((1001, unknown), (1003, heard), (9999, heard), before=Standing.READY) == []
    assert told((1001, unknown), (1001 + AT_REST_S, unknown), before=Standing.READY) == [NoticeType.SCALED_TO_ZERO]
    assert told((1001, unknown), (1003, heard), before=Standing.COLD) == [NoticeType.READY]


def due(before: Standing, after: Standing, *variants: VariantStatus) -> Notice:
    found = notice(CHAT, variants, before, after, 7.0)
    assert found is not None
    return found


def test_a_notice_says_which_variant_and_why() -> None:
    ready = due(Standing.COLD, Standing.READY, status(COLD, CPU), status(READY, H100))
    assert ready == (NoticeType.READY, 7.0, {"model": CHAT, "gpu": "H100:4"})
    failed = due(Standing.COLD, Standing.FAILED, status(FAILED, CPU, since_s=2, last_error="x" * 9_999))
    assert failed.data == {"model": CHAT, "gpu": "CPU", "reason": "x" * MAX_REASON_CHARS}
    assert due(Standing.READY, Standing.COLD, status(COLD, CPU)).data == {"model": CHAT}


@given(st.lists(st.lists(st.sampled_from(VariantState), min_size=2, max_size=2), max_size=40))
def test_ready_and_scaled_to_zero_take_turns(lives: list[list[VariantState]]) -> None:
    moments = [(9.0 * n, [status(each, since_s=9.0 * (n // 3)) for each in life]) for n, life in enumerate(lives)]
    types = told(*moments)
    for before, after in itertools.pairwise(types):
        if after is NoticeType.SCALED_TO_ZERO:
            assert before is NoticeType.READY
