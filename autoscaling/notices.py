"""Which changes of a model others are told of, whichever of its variants serves it.

Where a model stands, and what is told when it comes to stand elsewhere:

    from                          to        notice
    cold, failed, stopped         ready     model.ready
    cold, ready, stopped          failed    model.failed, once for as long as every new start fails as well
    ready                         cold      model.scaled_to_zero
    any                           stopped   none: somebody did it by hand
    failed, stopped               cold      none

Between two of them (scheduling, starting, draining) it stands where it stood, so neither an update nor a replica that
dies and comes back is told, nor that a second variant is ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from catalog.replicas import VariantState, VariantStatus
from catalog.webhooks import NoticeType

# A model whose replica died, or that a new manager has not yet heard of, seems cold for some seconds.
AT_REST_S = 15.0
MAX_REASON_CHARS = 500


class Standing(StrEnum):
    """Where a model stands; kept across restarts of the manager."""

    COLD = "cold"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class Notice(NamedTuple):
    """What is told of a model. `at_s` is seconds since the epoch; `data` holds texts."""

    type: NoticeType
    at_s: float
    data: dict[str, str]


_AT_REST = {
    VariantState.COLD: Standing.COLD,
    VariantState.FAILED: Standing.FAILED,
    VariantState.STOPPED: Standing.STOPPED,
}


def standing(variants: Sequence[VariantStatus], now_s: float) -> Standing | None:
    """Where a model with these variants stands; None while it is on its way."""
    if any(variant.state is VariantState.READY for variant in variants):
        return Standing.READY
    if any(variant.state not in _AT_REST for variant in variants):
        return None
    # The others may have failed, or left, long before.
    last = _changed_last(variants)
    if last.state is VariantState.COLD and now_s - last.since_s < AT_REST_S:
        return None
    return _AT_REST[last.state]


def notice(
    model: str, variants: Sequence[VariantStatus], before: Standing, after: Standing, now_s: float
) -> Notice | None:
    """What is told when a model comes to stand elsewhere; None for nothing."""
    if after is before:
        return None
    last = _changed_last(variants)
    if after is Standing.READY:
        ready = next(variant for variant in variants if variant.state is VariantState.READY)
        return Notice(NoticeType.READY, now_s, {"model": model, "gpu": _shape(ready)})
    if after is Standing.FAILED:
        reason = last.last_error[:MAX_REASON_CHARS]
        return Notice(NoticeType.FAILED, now_s, {"model": model, "gpu": _shape(last), "reason": reason})
    if after is Standing.COLD and before is Standing.READY:
        return Notice(NoticeType.SCALED_TO_ZERO, now_s, {"model": model})
    return None


def _changed_last(variants: Sequence[VariantStatus]) -> VariantStatus:
    return max(variants, key=lambda variant: variant.since_s)


def _shape(variant: VariantStatus) -> str:
    return variant.variant.rpartition("@")[2]
