from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.choice import Choice, Option, Reason, choose, relief
from autoscaling.cluster import Footing
from catalog.replicas import VariantState

COLD, READY, STARTING = VariantState.COLD, VariantState.READY, VariantState.STARTING


def option(key: str, state: VariantState = COLD, footing: Footing = Footing.NEVER, **changes: Any) -> Option:
    return Option(key, state, footing, is_spill=key == "CPU", **changes)


WARM = option("warm", READY, has_room=True)
FULL = option("full", READY)
NOW = option("now", footing=Footing.NOW)
ADDABLE = option("addable", footing=Footing.ADDABLE)
OCCUPIED = option("occupied", footing=Footing.OCCUPIED)
NEVER = option("never")
UNDER_WAY = option("starting", STARTING, Footing.NOW)
CPU = option("CPU", footing=Footing.NOW)
WARM_CPU = option("CPU", READY, has_room=True)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ([NOW, WARM], ("warm", "warm")),
        ([NOW, UNDER_WAY], ("starting", "starting")),
        ([ADDABLE, NOW, CPU], ("now", "placeable")),
        ([NEVER, ADDABLE, CPU], ("addable", "addable")),
        ([OCCUPIED, CPU], ("CPU", "spill")),
        ([FULL, NOW], ("full", "full")),
        ([FULL, WARM_CPU], ("CPU", "warm")),
        ([NEVER, OCCUPIED], ("occupied", "occupied")),
        ([NEVER], None),
    ],
    ids=lambda value: "-".join(each.key for each in value) if isinstance(value, list) else None,
)
def test_auto(options: list[Option], chosen: tuple[str, str] | None) -> None:
    assert choose(options) == (Choice(chosen[0], Reason(chosen[1])) if chosen else None)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ([NOW, WARM], ("now", "placeable")),
        ([ADDABLE, WARM], ("addable", "addable")),
        ([NEVER, WARM], ("warm", "warm")),
        ([OCCUPIED, CPU], ("CPU", "placeable")),
        ([FULL, NOW], ("now", "placeable")),
        ([FULL, NEVER], ("full", "full")),
        ([NEVER, OCCUPIED], ("occupied", "occupied")),
    ],
    ids=lambda value: "-".join(each.key for each in value) if isinstance(value, list) else None,
)
def test_a_list_is_tried_in_its_order(options: list[Option], chosen: tuple[str, str]) -> None:
    assert choose(options, in_order=True) == Choice(chosen[0], Reason(chosen[1]))


def test_what_is_stopped_or_has_just_failed_is_passed_over() -> None:
    blocked = option("blocked", footing=Footing.NOW, is_blocked=True)
    assert choose([blocked, ADDABLE]) == Choice("addable", Reason.ADDABLE)
    assert choose([blocked]) is None
    assert relief([FULL, blocked]) is None


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ([FULL, NOW, CPU], ("now", "placeable")),
        ([FULL, CPU], ("CPU", "spill")),
        ([FULL, ADDABLE, CPU], ("addable", "addable")),
        ([WARM, NOW], None),
        ([FULL, UNDER_WAY, CPU], None),
        ([option("grows", READY, can_grow=True), CPU], None),
        ([NOW, WARM_CPU], ("now", "placeable")),
        ([ADDABLE, WARM_CPU], ("addable", "addable")),
        ([OCCUPIED, WARM_CPU], None),
        ([NOW], None),
    ],
    ids=lambda value: "-".join(each.key for each in value) if isinstance(value, list) else None,
)
def test_relief(options: list[Option], chosen: tuple[str, str] | None) -> None:
    assert relief(options) == (Choice(chosen[0], Reason(chosen[1])) if chosen else None)


options = st.lists(
    st.builds(
        Option,
        st.uuids().map(str),
        st.sampled_from(VariantState),
        st.sampled_from(Footing),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=5,
)


@given(options, st.booleans())
def test_what_is_chosen_may_serve_and_relief_never_starts_a_second_one(options: list[Option], in_order: bool) -> None:
    by_key = {option.key: option for option in options}
    choice = choose(options, in_order=in_order)
    if choice is not None:
        chosen = by_key[choice.key]
        assert not chosen.is_blocked
        assert chosen.is_ready or chosen.is_under_way or chosen.footing is not Footing.NEVER
    beside = relief(options)
    if beside is not None:
        assert not by_key[beside.key].is_ready
        assert not any(option.is_under_way and not option.is_blocked for option in options)
