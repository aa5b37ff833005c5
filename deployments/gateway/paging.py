"""Pages of a list, as OpenAI's clients ask for them: `limit`, and `after`, the id of the last entry they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.errors import InvalidRequest

DEFAULT_LIMIT = 20


def page(
    entries: Sequence[dict[str, Any]], query: Mapping[str, str], *, max_limit: int = 100, limit: int = DEFAULT_LIMIT
) -> dict[str, Any]:
    """The list object with the wanted entries, which are in the order of the reply. Raises InvalidRequest."""
    wanted = query.get("limit")
    if wanted is not None:
        if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 9 and 1 <= int(wanted) <= max_limit):
            raise InvalidRequest(f"limit must be an integer from 1 to {max_limit}.", param="limit")
        limit = int(wanted)
    after, begin = query.get("after"), 0
    if after is not None:
        begin = next((index + 1 for index, entry in enumerate(entries) if entry["id"] == after), -1)
        if begin < 0:
            raise InvalidRequest("after must be the id of an entry of this list.", param="after")
    found = list(entries[begin : begin + limit])
    return {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": begin + limit < len(entries),
    }
