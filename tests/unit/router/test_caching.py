"""Only what has one answer is cached, and nothing that may change it is left out of the key."""

from __future__ import annotations

from typing import Any

import pytest

from router.caching import answer_key, has_ended_well, is_deterministic

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("endpoint", "fields", "is_so"),
    [
        (CHAT, {"temperature": 0}, True),
        (CHAT, {"temperature": 0.0}, True),
        (CHAT, {"seed": 5}, True),
        (CHAT, {"seed": 0, "temperature": 1}, True),
        (CHAT, {}, False),
        (CHAT, {"temperature": None, "seed": None}, False),
        (CHAT, {"temperature": 0.1}, False),
        (CHAT, {"temperature": False}, False),
        (CHAT, {"temperature": "0"}, False),
        ("/v1/messages", {"temperature": 0}, True),
        ("/v1/embeddings", {}, True),
        ("/v1/rerank", {}, True),
        ("/v1/responses", {"temperature": 0}, False),
        ("/v1/tokenize", {"temperature": 0}, False),
    ],
)
def test_what_has_one_answer(endpoint: str, fields: dict[str, Any], is_so: bool) -> None:
    assert is_deterministic(endpoint, fields) is is_so


def key(**changes: Any) -> str:
    question = {
        "tenant": "t", "model": "m", "versions": ("v",), "endpoint": CHAT, "fields": {"a": 1, "b": [1, {"c": 2}]},
    }  # fmt: skip
    return answer_key(**{**question, **changes})


def test_the_order_of_fields_does_not_matter() -> None:
    assert key(fields={"b": [1, {"c": 2}], "a": 1}) == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"}, {"model": "n"}, {"versions": ("w",)}, {"versions": ("v", "w")},
        {"endpoint": "/v1/messages"},
        {"fields": {"a": 1, "b": [1, {"c": 3}]}}, {"fields": {"a": 1}}, {"fields": {"a": 1, "b": [{"c": 2}, 1]}},
        {"fields": {"a": 1, "b": [1, {"c": 2}], "stream": True}}, {"fields": {"a": True, "b": [1, {"c": 2}]}},
        {"tenant": "t\x00m", "model": ""},
    ],
)  # fmt: skip
def test_whatever_may_change_the_answer_changes_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    ("body", "is_so"),
    [
        (b"data: 1\n\ndata: [DONE]\n\n", True),
        (b'event: message_stop\ndata: {"type": "message_stop"}\n\n', True),
        (b"data: 1\n\n", False),
        (b'data: {"error": {}}\n\n', False),
        (b"", False),
        (b"data: [DONE]\n\ndata: 1\n\n", False),
    ],
)
def test_a_stream_that_was_cut_is_told_from_a_whole_one(body: bytes, is_so: bool) -> None:
    assert has_ended_well(body) is is_so
