"""Rate limits as an operator writes them down."""

from __future__ import annotations

from pydantic import Field

from catalog.models import Settings

DEFAULT_REQUESTS_PER_MINUTE = 600


class LimitSettings(Settings):
    """What one key, or one address where there are no keys, may ask of one endpoint in any minute."""

    requests_per_minute: int | None = Field(
        default=DEFAULT_REQUESTS_PER_MINUTE, ge=1, le=10_000_000, description="Requests; `null` for no limit."
    )
    tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000_000,
        description="Tokens of prompts and completions; `null` for no limit.",
    )
