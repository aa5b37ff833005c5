"""Chat requests, and a way to tell whose answer a text is."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from tests.engine_server import CHECKPOINT, LATEST_CHECKPOINT

MAX_TOKENS = 120
# What a reply calls the model that was asked for by another of its names.
CANONICAL = {LATEST_CHECKPOINT: CHECKPOINT}


def chat_body(model: str, prompt: str, **fields: Any) -> dict[str, Any]:
    """A chat request at temperature 0."""
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS, **fields}


def ask(http: httpx.Client, model: str, prompt: str, **fields: Any) -> str:
    """The answer of a model, which must come."""
    reply = http.post("/v1/chat/completions", json=chat_body(model, prompt, **fields))
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == CANONICAL.get(model, model)
    return reply.json()["choices"][0]["message"]["content"]


def stream_text(events: Iterable[dict[str, Any]]) -> str:
    """The text of a stream's chunks."""
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def data_of(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The chunks among a stream's lines."""
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def closest(text: str, references: Mapping[str, str]) -> str:
    """The name of the reference that is most like the text.

    Equality would be too strict: in bfloat16, the other requests of a batch may tip the balance between two tokens.
    """
    return max(references, key=lambda name: likeness(text, references[name]))


def likeness(one: str, other: str) -> float:
    """0 for nothing in common, 1 for equal texts."""
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()
