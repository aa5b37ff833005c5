"""What gateway and replica say to each other besides the request: header names and the usage trailer.

A replica adds what a request used to its reply: as a header when the reply is one body, else as a last SSE comment
`: raymux {...}`, which the relay strips. An SSE client would skip the comment, so a trailer that slipped through would
do no harm.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from catalog.catalog import AdapterSpec

SECRET_HEADER = b"x-raymux-secret"
ADAPTER_HEADER = b"x-raymux-adapter"
USAGE_HEADER = b"x-raymux-usage"
RETRY_HEADER = b"x-raymux-retry"
REQUEST_ID_HEADER = b"x-request-id"
# Requests that the gateway has under way, this one included, whichever replicas they are in.
ONGOING_HEADER = b"x-raymux-ongoing"
# Values of RETRY_HEADER: the replica took no part of the request, or lost its engine before the first byte.
DRAINING = b"draining"
ENGINE_DIED = b"engine died"
# Of a replica: its engine's own metrics. To read them is no use of the model.
METRICS_PATH = "/metrics"

_TRAILER_START = b": raymux {"
_TRAILER_END = b"}\n\n"


class Usage(NamedTuple):
    """What one request used, as its replica counted it. Times are milliseconds inside the replica.

    `cached_tokens` of the prompt came out of the engine's prefix cache; None where the engine does not say.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    ttft_ms: float = 0.0
    total_ms: float = 0.0
    cached_tokens: int | None = None


def encode_usage(usage: Usage) -> bytes:
    """The usage as a JSON array, for the header."""
    times_ms = round(usage.ttft_ms, 1), round(usage.total_ms, 1)
    return json.dumps([usage.prompt_tokens, usage.completion_tokens, *times_ms, usage.cached_tokens]).encode()


def decode_usage(value: bytes) -> Usage | None:
    """Read what `encode_usage` wrote; None when it is something else."""
    try:
        return _usage(json.loads(value))
    except ValueError:
        return None


def encode_adapter(spec: AdapterSpec) -> bytes:
    """The adapter a request needs, for the header; the gateway has checked it against the catalog."""
    return json.dumps([spec.name, spec.names, spec.source]).encode()


def decode_adapter(value: bytes) -> AdapterSpec:
    """Read what `encode_adapter` wrote."""
    name, names, source = json.loads(value)
    return AdapterSpec(name, tuple(names), source)


def usage_trailer(usage: Usage) -> bytes:
    """The usage as the last SSE comment of a stream."""
    return _TRAILER_START + b'"usage": ' + encode_usage(usage) + _TRAILER_END


def strip_trailer(chunk: bytes) -> tuple[bytes, Usage | None]:
    """Split a chunk of a stream into what the client gets and the usage, if the chunk ends in a trailer."""
    if not chunk.endswith(_TRAILER_END):
        return chunk, None
    start = chunk.rfind(_TRAILER_START, max(0, len(chunk) - 256))
    if start < 0 or (start > 0 and chunk[start - 1 : start] != b"\n"):
        return chunk, None
    try:
        usage = _usage(json.loads(chunk[start + len(_TRAILER_START) - 1 : -2]).get("usage"))
    except ValueError:
        usage = None
    return (chunk, None) if usage is None else (chunk[:start], usage)


def _usage(values: Any) -> Usage | None:
    # Four of a replica of an earlier version.
    if not isinstance(values, list) or len(values) not in (4, 5):
        return None
    is_usage = all(isinstance(value, int | float) for value in values[:4])
    return Usage(*values) if is_usage and isinstance(values[-1], int | float | None) else None
