"""A warm-up: a model that somebody asked to have ready, and for how long it is kept so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field

from catalog.models import Settings

MAX_KEEP_WARM_S = 7 * 86_400


class WarmupState(StrEnum):
    """Where a warm-up is. `starting → ready → ended`, or `failed` from `starting`."""

    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Warmup:
    """One warm-up; times are seconds since the epoch.

    `variants` are the keys it accepts, in order of preference, and `variant` the one that was taken. The order is
    strict where it `is_in_order`: somebody named it. It is ready from `ready_s` on, keeps the variant until
    `keep_until_s`, and ended at `ended_s`. `error` is why it failed. One that `is_scheduled` follows `warmups` of the
    configuration.
    """

    id: str
    model: str
    variants: tuple[str, ...]
    keep_warm_s: float
    created_s: float
    variant: str | None = None
    ready_s: float | None = None
    ended_s: float | None = None
    error: str = ""
    is_scheduled: bool = False
    is_in_order: bool = False

    @property
    def state(self) -> WarmupState:
        if self.error:
            return WarmupState.FAILED
        if self.ended_s is not None:
            return WarmupState.ENDED
        return WarmupState.STARTING if self.ready_s is None else WarmupState.READY

    @property
    def wanted(self) -> tuple[str, ...]:
        """The variant it keeps; before it has one, those it accepts."""
        return self.variants if self.variant is None else (self.variant,)

    @property
    def keep_until_s(self) -> float | None:
        """Until when its variant is kept whatever the traffic; None before it is ready, unless it goes by the clock."""
        if self.is_scheduled:
            return self.created_s + self.keep_warm_s
        return None if self.ready_s is None else self.ready_s + self.keep_warm_s

    @property
    def is_over(self) -> bool:
        return self.state in (WarmupState.ENDED, WarmupState.FAILED)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Warmup:
        """Read what `dataclasses.asdict` wrote as JSON."""
        return cls(**{**record, "variants": tuple(record["variants"])})


class WarmupRequest(Settings):
    """The body of `POST /v1/warmup`."""

    model: str = Field(min_length=1, max_length=256, description="The model, adapter or checkpoint to have ready.")
    gpu_preference: Any = Field(
        default=None, description="A shape, a list of shapes in order of preference, or `auto`, as in a request."
    )
    keep_warm_s: float = Field(
        default=0, ge=0, le=MAX_KEEP_WARM_S, allow_inf_nan=False,
        description="How long it is kept from when it is ready, whatever the traffic; then its idle timeout counts.",
    )  # fmt: skip
    wait: bool = Field(default=False, description="Whether the reply waits until it is ready or has failed.")
