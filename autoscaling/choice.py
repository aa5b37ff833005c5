"""Which of a model's variants a request is sent to or starts, and which one is started to relieve the others.

`auto` takes, in the model's order,

    warm        a ready variant with room
    full        a ready variant without room, while `relief` starts another one
    starting    a variant that starts already: a second one for the same request would be waste
    placeable   a variant whose GPUs are free in the cluster
    addable     a variant whose node Ray's autoscaler may add
    spill       a CPU variant, since none of the GPU variants before it can be placed
    occupied    a variant that finds its place when others leave

A list of shapes is tried in its own order instead: the first that can be had by any of these but the last two is taken,
whether it is warm or cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from autoscaling.cluster import Footing
from catalog.replicas import VariantState

_UNDER_WAY = (VariantState.SCHEDULING, VariantState.STARTING)


class Reason(StrEnum):
    """Why a variant was chosen; see the module's docstring."""

    WARM = "warm"
    FULL = "full"
    STARTING = "starting"
    PLACEABLE = "placeable"
    ADDABLE = "addable"
    SPILL = "spill"
    OCCUPIED = "occupied"


@dataclass(frozen=True, slots=True)
class Option:
    """A variant as a choice sees it.

    `is_spill`: a CPU variant that the model lists after a GPU variant. `has_room`: a ready replica has fewer ongoing
    requests than it should carry. `can_grow`: Serve may add a replica. `is_blocked`: stopped by hand, or waiting after
    a failed start.
    """

    key: str
    state: VariantState
    footing: Footing
    is_spill: bool = False
    has_room: bool = False
    can_grow: bool = False
    is_blocked: bool = False

    @property
    def is_ready(self) -> bool:
        return self.state is VariantState.READY

    @property
    def is_under_way(self) -> bool:
        return self.state in _UNDER_WAY


@dataclass(frozen=True, slots=True)
class Choice:
    """A variant's key, and why it is the one."""

    key: str
    reason: Reason


def choose(options: Sequence[Option], *, in_order: bool = False) -> Choice | None:
    """The variant for a request, or None when none of them can ever be placed or all are blocked.

    `in_order` is for a request that lists shapes: an earlier one that can be had wins over a later one that is warm.
    """
    able = [option for option in options if not option.is_blocked]
    if in_order:
        found = next((choice for option in able if (choice := _at_once(option))), None)
        return found or _first(able, Reason.FULL) or _first(able, Reason.OCCUPIED)
    for reason in Reason:
        if choice := _first(able, reason):
            return choice
    return None


def _at_once(option: Option) -> Choice | None:
    """How a single variant can be had without waiting for others to leave."""
    for reason in (Reason.WARM, Reason.STARTING, Reason.PLACEABLE, Reason.ADDABLE, Reason.SPILL):
        if _is(option, reason):
            return Choice(option.key, reason if reason is not Reason.SPILL else Reason.PLACEABLE)
    return None


def _first(options: Sequence[Option], reason: Reason) -> Choice | None:
    return next((Choice(option.key, reason) for option in options if _is(option, reason)), None)


def _is(option: Option, reason: Reason) -> bool:
    is_cold = not option.is_ready and not option.is_under_way
    match reason:
        case Reason.WARM:
            return option.is_ready and option.has_room
        case Reason.FULL:
            return option.is_ready
        case Reason.STARTING:
            return option.is_under_way
        case Reason.PLACEABLE:
            return is_cold and not option.is_spill and option.footing is Footing.NOW
        case Reason.ADDABLE:
            return is_cold and not option.is_spill and option.footing is Footing.ADDABLE
        case Reason.SPILL:
            return is_cold and option.is_spill and option.footing in (Footing.NOW, Footing.ADDABLE)
        case Reason.OCCUPIED:
            return is_cold and option.footing is Footing.OCCUPIED


def relief(options: Sequence[Option]) -> Choice | None:
    """The variant to start in the background beside those that serve, or None.

    Two cases: every ready variant is full and none can grow by itself, or only the spill serves while a GPU variant
    can be had again.
    """
    able = [option for option in options if not option.is_blocked]
    ready = [option for option in able if option.is_ready]
    if not ready or any(option.is_under_way for option in able):
        return None
    preferred = [option for option in able if not option.is_ready]
    if any(option.has_room or option.can_grow for option in ready):
        if not all(option.is_spill for option in ready):
            return None
        # Spilled to the CPU: back to what the model lists before it.
        preferred = [option for option in able[: able.index(ready[0])] if not option.is_spill]
    kinds = (Reason.PLACEABLE, Reason.ADDABLE, Reason.SPILL)
    return next((choice for reason in kinds if (choice := _first(preferred, reason))), None)
