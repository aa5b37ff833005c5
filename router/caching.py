"""Which requests have one answer only, and the key of that answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

_ALWAYS = frozenset({"/v1/embeddings", "/v1/rerank", "/v1/score"})
# `/v1/responses` may keep state between requests, and is therefore never cached.
_WHERE_ASKED_FOR = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages"})


def is_deterministic(endpoint: str, fields: dict[str, Any]) -> bool:
    """Whether equal requests have equal answers: no sampling takes place, or it is seeded."""
    if endpoint in _ALWAYS:
        return True
    if endpoint not in _WHERE_ASKED_FOR:
        return False
    temperature = fields.get("temperature")
    is_greedy = isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature == 0
    return is_greedy or fields.get("seed") is not None


def answer_key(tenant: str, model: str, versions: Sequence[str], endpoint: str, fields: dict[str, Any]) -> str:
    """The key of the answer to these fields of a body, 64 hexadecimal digits.

    Everything that may change the answer is in it: the tenant (answers are never shared between tenants), the model
    and the version of what serves it, and every field of the body, whether anybody knows what it means or not.
    """
    parts = [tenant, model, list(versions), endpoint, fields]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def has_ended_well(body: bytes) -> bool:
    """Whether a stream ends with the event of a whole one: OpenAI's `[DONE]`, Anthropic's message_stop."""
    tail = body[-200:].rstrip()
    return tail.endswith(b"data: [DONE]") or b"event: message_stop" in tail
