"""How much a node keeps of what it has fetched."""

from __future__ import annotations

from pydantic import Field

from catalog.models import Settings


class SourceCacheSettings(Settings):
    """Where a node keeps what it has fetched from buckets and web servers; a hub's files are in `HF_HOME`."""

    folder: str = Field(
        default="run/sources", min_length=1, max_length=1024, description="The folder, relative to the project."
    )
    max_gib: float = Field(
        default=200,
        gt=0,
        le=1_000_000,
        description="Most GiB that it holds, besides what is being fetched: what nothing uses goes, the least recently"
        " used first. A larger source is refused.",
    )

    @property
    def max_bytes(self) -> int:
        return int(self.max_gib * 2**30)
