"""Golden requests in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidRequest
from router.anthropic.chat_requests import chat_to_messages
from router.anthropic.message_requests import messages_to_chat

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PIXEL = "iVBORw0KGgo="

CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
                {"id": "b", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "hot"},
        {"role": "tool", "tool_call_id": "b", "content": "cold"},
        {"role": "user", "content": "So?"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "max_tokens": 100,
    "stop": ["END"],
    "temperature": 0.5,
    "stream": True,
    "user": "u1",
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "hot"}]},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "cold"}]},
                {"type": "text", "text": "So?"},
            ],
        },
    ],
    "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    "stop_sequences": ["END"],
    "temperature": 0.5,
    "stream": True,
    "metadata": {"user_id": "u1"},
}


def test_a_chat_becomes_messages():
    assert chat_to_messages(CHAT, 4096) == MESSAGES


def test_messages_become_a_chat():
    back = messages_to_chat(MESSAGES, "max_tokens")
    # Text alone may stand as parts: they mean the same.
    assert back["messages"][-1].pop("content") == [{"type": "text", "text": "So?"}]
    expected = {**CHAT, "messages": [*CHAT["messages"][:-1], {"role": "user"}]}
    assert back == expected


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [{"role": "user", "content": "hi"}], **fields}


def test_the_limit_of_a_chat_without_one_is_the_models():
    assert chat_to_messages(chat(), 77)["max_tokens"] == 77
    assert chat_to_messages(chat(max_completion_tokens=5), 77)["max_tokens"] == 5


def test_the_providers_own_word_for_the_limit_is_used():
    body = {"model": "m", "max_tokens": 9, "messages": []}
    assert messages_to_chat(body, "max_completion_tokens")["max_completion_tokens"] == 9


def test_a_hot_chat_is_as_hot_as_may_be():
    assert chat_to_messages(chat(temperature=1.7), 1)["temperature"] == 1


def test_a_schema_goes_both_ways():
    wish = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}
    there = chat_to_messages(chat(response_format=wish, reasoning_effort="high"), 1)
    assert there["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "high"}
    back = messages_to_chat(there, "max_tokens")
    assert (back["response_format"], back["reasoning_effort"]) == (wish, "high")


def test_thinking_of_earlier_turns_and_cache_marks_are_left_out():
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "4", "cache_control": {"type": "ephemeral"}},
    ]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": blocks}]}
    assert messages_to_chat(body, "max_tokens")["messages"] == [{"role": "assistant", "content": "4"}]


def test_a_tools_image_follows_as_the_users():
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "see"}, image]}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [result]}]}
    tool, user = messages_to_chat(body, "max_tokens")["messages"]
    assert tool == {"role": "tool", "tool_call_id": "a", "content": "see"}
    assert user["content"] == [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2), ("logprobs", True), ("logit_bias", {"1": 2}), ("frequency_penalty", 0.1), ("functions", []),
        ("response_format", {"type": "json_object"}), ("tool_choice", 7), ("temperature", 3), ("reasoning_effort", 5),
        ("messages", "hi"), ("messages", []), ("messages", [7]), ("messages", [{"role": "x", "content": "y"}]),
        ("tools", [{"type": "custom"}]), ("messages", [{"role": "user", "content": [{"type": "input_audio"}]}]),
    ],
)  # fmt: skip
def test_a_chat_that_cannot_be_said_is_refused(field: str, value: Any):
    body = chat(**{"tools": [{"type": "function", "function": {"name": "f"}}], field: value})
    with pytest.raises(InvalidRequest):
        chat_to_messages(body, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", None), ("messages", [{"role": "tool", "content": "x"}]), ("max_tokens", None),
        ("tools", [{"type": "web_search_20250305", "name": "web_search"}]), ("mcp_servers", [{}]),
        ("messages", [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_said_are_refused(field: str, value: Any):
    body = {"model": "m", "max_tokens": 1, "messages": [], field: value}
    with pytest.raises(InvalidRequest):
        messages_to_chat(body, "max_tokens")


def test_a_callers_own_words_are_not_echoed():
    with pytest.raises(InvalidRequest) as caught:
        chat_to_messages(chat(**{"My Secret!": 1}), 1)
    assert "Secret" not in caught.value.message
    assert caught.value.param is None


TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1)), min_size=1, max_size=6)


@given(turns=TURNS, system=st.text(min_size=1))
def test_no_text_is_lost_on_the_way_there_and_back(turns: list[tuple[str, str]], system: str):
    messages = [{"role": role, "content": text} for role, text in turns]
    there = chat_to_messages(chat({"role": "system", "content": system}, *messages), 5)
    back = messages_to_chat(there, "max_tokens")["messages"]
    told: list[tuple[str, str]] = []
    for message in back:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [part["text"] for part in content]
        told.append((message["role"], "".join(parts)))
    expected: list[tuple[str, str]] = [("system", system)]
    for role, text in turns:
        same = expected[-1][0] == role
        expected[-1:] = [(role, expected[-1][1] + text)] if same else [expected[-1], (role, text)]
    assert told == expected
