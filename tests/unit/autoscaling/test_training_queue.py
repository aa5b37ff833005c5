from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.training_queue import Waiting, in_turn


def test_jobs_of_one_tenant_keep_their_order() -> None:
    assert in_turn([Waiting("b", "t", 2.0), Waiting("a", "t", 1.0)], [], {}, 10.0) == ["a", "b"]


def test_a_tenant_with_many_jobs_does_not_starve_another() -> None:
    many = [Waiting(f"a{number}", "a", float(number)) for number in range(5)]
    assert in_turn([*many, Waiting("b", "b", 9.0)], [], {}, 10.0)[:2] == ["a0", "b"]
    assert in_turn([*many, Waiting("b", "b", 9.0)], ["a"], {}, 10.0)[0] == "b"


def test_after_its_job_a_tenant_is_last() -> None:
    waiting = [Waiting("a", "a", 1.0), Waiting("b", "b", 2.0)]
    assert in_turn(waiting, [], {"a": 5.0}, 10.0) == ["b", "a"]


def test_one_that_has_yielded_waits_its_time() -> None:
    waiting = [Waiting("a", "a", 1.0, not_before_s=20.0), Waiting("b", "a", 2.0)]
    assert in_turn(waiting, [], {}, 10.0) == ["b"]
    assert in_turn(waiting, [], {}, 20.0) == ["a", "b"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 9))), st.lists(st.sampled_from("abc")))
def test_everybody_gets_one_turn_each(jobs: list[tuple[str, float]], active: list[str]) -> None:
    waiting = [Waiting(str(index), tenant, at_s) for index, (tenant, at_s) in enumerate(jobs)]
    assert Counter(in_turn(waiting, active, {}, 10.0)) == Counter(job.id for job in waiting)
