"""Server-sent events: taken out of a stream's bytes as they come, and written.

The format is that of the HTML standard, section 9.2, with lines that end in LF or CRLF (a CR alone is in no API that
this reads). Fields other than `event` and `data` are passed over.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

# An event ends with an empty line.
_END = re.compile(rb"\n\r?\n")
_LINE = re.compile(rb"\r?\n")
_LONGEST_END = 3

DONE = b"data: [DONE]\n\n"


class ServerEvent(NamedTuple):
    """One event: its own bytes with the empty line, its name, and its data (None where it has none: a comment)."""

    raw: bytes
    name: str
    data: bytes | None


class EventReader:
    """Cuts a stream into events."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that are whole with this chunk. Raises ValueError when one is longer than it may be."""
        pending, begin = self._pending, 0
        search_from = max(0, len(pending) - _LONGEST_END)
        pending += chunk
        events = []
        while found := _END.search(pending, search_from):
            events.append(_event(bytes(pending[begin : found.end()])))
            begin = search_from = found.end()
        del pending[:begin]
        if len(pending) > self._max_event_bytes or any(len(event.raw) > self._max_event_bytes for event in events):
            raise ValueError("an event is too long")
        return events


def _event(raw: bytes) -> ServerEvent:
    name, data = "", []
    for line in _LINE.split(raw):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return ServerEvent(raw, name, b"\n".join(data) if data else None)


def data_event(body: Any) -> bytes:
    """An event of OpenAI's form: data alone."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def named_event(body: dict[str, Any]) -> bytes:
    """An event of Anthropic's form: named as its `type`."""
    return b"event: " + body["type"].encode() + b"\n" + data_event(body)
