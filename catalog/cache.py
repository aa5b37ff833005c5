"""The response cache as an operator writes it down."""

from __future__ import annotations

from pydantic import Field

from catalog.models import Settings


class CacheSettings(Settings):
    """Whole answers of deterministic requests; in Redis where `redis` is set, else in each gateway's memory."""

    max_bytes: int = Field(
        default=256 * 1024**2, ge=1024**2, le=1024**4, description="Memory for answers; the least recently used leave."
    )
    max_entry_bytes: int = Field(
        default=1024**2, ge=1024, le=256 * 1024**2, description="Largest answer that is kept, bytes."
    )
    ttl_s: float = Field(default=3600, ge=1, le=30 * 86_400, description="How long an answer is kept.")
