"""Warm-ups by the clock: when a model is to be ready, as a cron expression in a time zone."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from catalog.models import Settings, ShapeText
from catalog.warmups import MAX_KEEP_WARM_S


class Window(NamedTuple):
    """A time in which the model is kept, seconds since the epoch; `id` names it across restarts."""

    id: str
    begun_s: float
    until_s: float


class WarmupSchedule(Settings):
    """A model that is started and kept at certain times."""

    model: str = Field(min_length=1, max_length=256, description="The model, adapter or checkpoint to have ready.")
    cron: str = Field(
        max_length=200, description="When it starts: minute, hour, day of month, month, day of week, as in cron(5)."
    )
    timezone: str = Field(default="UTC", max_length=64, description="Time zone of `cron`, such as `Europe/Berlin`.")
    keep_warm_s: float = Field(
        ge=60,
        le=MAX_KEEP_WARM_S,
        allow_inf_nan=False,
        description="How long it is kept from then, whatever the traffic.",
    )
    gpu_preference: tuple[ShapeText, ...] = Field(
        default=(), max_length=16, description="Shapes to start it on, in order; empty for the model's own order."
    )

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, text: str) -> str:
        try:
            CronSim(text, datetime.now(UTC))
        except CronSimError as error:
            raise ValueError(f"no cron expression: {error}") from None
        return text

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, text: str) -> str:
        try:
            ZoneInfo(text)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone is named {text}") from None
        return text

    def window(self, now_s: float) -> Window | None:
        """The window that is open now, or None. The last one counts where several would be."""
        # The simulation leaves its start out, and a window opens with its first second.
        local = datetime.fromtimestamp(int(now_s) + 1, ZoneInfo(self.timezone))
        try:
            begun_s = next(CronSim(self.cron, local, reverse=True)).timestamp()
        except StopIteration:
            # No such time within the last 50 years.
            return None
        until_s = begun_s + self.keep_warm_s
        return Window(self._id(begun_s), begun_s, until_s) if now_s < until_s else None

    def _id(self, begun_s: float) -> str:
        words = (self.model, self.cron, self.timezone, *self.gpu_preference, str(begun_s))
        return f"warmup-{hashlib.sha256(repr(words).encode()).hexdigest()[:32]}"
