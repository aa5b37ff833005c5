from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.awake import EngineView, Phase, decide

A = EngineView("a")
B = EngineView("b")
WAITING = replace(B, wanted_since_s=5.0)
AWAKE = replace(A, phase=Phase.AWAKE, awake_since_s=0.0, turn_s=10.0)


def views() -> st.SearchStrategy[list[EngineView]]:
    times = st.floats(0, 100)
    view = st.builds(
        EngineView, st.just(""), st.sampled_from(Phase), st.booleans(), st.none() | times, times, times,
        st.floats(0.1, 60), st.floats(1, 60),
    )  # fmt: skip
    return st.lists(view, max_size=6).map(lambda found: [replace(each, name=f"e{i}") for i, each in enumerate(found)])


def test_the_one_that_waits_gets_what_is_free() -> None:
    assert decide([A, WAITING], 6.0).grant == ("b",)


def test_an_idle_engine_gives_way_before_anything_is_granted() -> None:
    decision = decide([AWAKE, WAITING], 6.0)
    assert (decision.grant, decision.sleep) == ((), ("a",))
    assert decide([replace(AWAKE, phase=Phase.YIELDING), WAITING], 6.0).grant == ()


def test_a_busy_engine_keeps_its_turn_to_the_end_and_then_drains() -> None:
    busy = replace(AWAKE, is_busy=True)
    early, late = decide([busy, WAITING], 6.0), decide([busy, WAITING], 10.0)
    assert (early.drain, early.recheck_at_s) == ((), 10.0)
    assert (late.drain, late.sleep) == (("a",), ())


def test_an_engine_that_nobody_waits_behind_is_left_alone() -> None:
    assert decide([AWAKE, B], 1000.0) == decide([], 0.0)


def test_the_cheapest_to_lose_goes_first() -> None:
    dear, cheap = replace(AWAKE, name="dear", wake_s=9.0), replace(AWAKE, name="cheap", wake_s=1.0)
    assert decide([dear, cheap, WAITING], 6.0, max_awake=2).sleep == ("cheap",)
    fresh = replace(cheap, name="fresh", last_used_s=5.9)
    assert decide([replace(dear, wake_s=2.0), fresh, WAITING], 6.0, max_awake=2).sleep == ("dear",)


@given(views(), st.floats(0, 200), st.integers(1, 3))
def test_never_more_than_allowed_are_awake(engines: list[EngineView], now_s: float, max_awake: int) -> None:
    num_held = sum(each.phase is not Phase.ASLEEP for each in engines)
    assert num_held + len(decide(engines, now_s, max_awake).grant) <= max(num_held, max_awake)


@given(views(), st.floats(0, 200), st.integers(1, 3))
def test_a_busy_or_waking_engine_is_never_put_to_sleep(engines: list[EngineView], now_s: float, max_awake: int) -> None:
    by_name = {each.name: each for each in engines}
    decision = decide(engines, now_s, max_awake)
    assert all(by_name[name].is_idle for name in decision.sleep)
    assert all(by_name[name].phase is Phase.AWAKE and by_name[name].turn_ends_s <= now_s for name in decision.drain)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(1, 5)), min_size=2, max_size=5))
def test_everyone_that_waits_gets_a_turn(times: list[tuple[float, float]]) -> None:
    """All of them are busy without end whenever they are awake."""
    engines = {
        f"e{i}": EngineView(f"e{i}", wanted_since_s=since_s, turn_s=turn_s)
        for i, (since_s, turn_s) in enumerate(times)
    }  # fmt: skip
    served: set[str] = set()
    now_s = 5.0
    for _ in range(4 * len(engines)):
        decision = decide(engines.values(), now_s)
        for name in decision.grant:
            engines[name] = replace(
                engines[name], phase=Phase.AWAKE, awake_since_s=now_s, is_busy=True, wanted_since_s=None
            )
            served.add(name)
        for name in decision.drain:
            engines[name] = replace(engines[name], phase=Phase.ASLEEP, is_busy=False, wanted_since_s=now_s)
        now_s = decision.recheck_at_s or now_s
    assert served == set(engines)
