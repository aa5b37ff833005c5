"""Streams and whole replies in both directions, and that one followed by the other gives back the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.anthropic.responses import Tokens, completion_to_message, message_to_completion, tokens_of
from router.anthropic.stream import ToChunks, ToEvents

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {"id": "c1", "choices": choices, **fields}


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    head = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"tool_calls": [{"index": index, **head, "function": function}]}


def events_of(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    stream = ToEvents("m")
    return [*(event for each in chunks for event in stream.feed(each)), *stream.end()]


def chunks_of(events: list[dict[str, Any]], *, shows_usage: bool = False) -> list[dict[str, Any]]:
    stream = ToChunks("m", 5, shows_usage=shows_usage)
    chunks = [chunk for event in events for chunk in stream.feed(event)]
    assert stream.is_over
    return chunks


def test_text_and_parallel_calls_become_blocks_one_after_the_other():
    events = events_of(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(call(0, "", "weather")),
        chunk(call(0, '{"city":')),
        chunk(call(0, '"Rome"}')),
        chunk(call(1, "{}", "time")),
        chunk({}, "tool_calls"),
        chunk(usage=USAGE),
    )
    assert [event["type"].removeprefix("content_block_") for event in events] == [
        "message_start", "start", "delta", "delta", "stop", "start", "delta", "delta", "stop", "start", "delta", "stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [event["index"] for event in events if "index" in event] == [0] * 4 + [1] * 4 + [2] * 3
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"] == {
        "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 3,
    }  # fmt: skip


def test_a_stream_without_an_answer_is_no_answer():
    with pytest.raises(ValueError):
        ToEvents("m").end()
    half = ToEvents("m")
    half.feed(chunk({"content": "x"}))
    with pytest.raises(ValueError):
        half.end()


@pytest.mark.parametrize("body", [{}, {"choices": 7}, {"choices": [{"delta": 7}]}, chunk(call(0, "{}"))])
def test_what_is_no_chunk_is_refused(body: dict[str, Any]):
    with pytest.raises(ValueError):
        ToEvents("m").feed(body)


@pytest.mark.parametrize("event", [{}, {"type": "content_block_delta"}, {"type": "message_start"}])
def test_what_is_no_event_is_refused(event: dict[str, Any]):
    with pytest.raises(ValueError):
        ToChunks("m", 1, shows_usage=False).feed(event)


def test_a_call_without_arguments_gets_empty_ones():
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "1", "usage": {"input_tokens": 4, "output_tokens": 1}}},
        {"type": "ping"},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    chunks = chunks_of(events, shows_usage=True)
    calls = [each["choices"][0]["delta"].get("tool_calls") for each in chunks if each["choices"]]
    assert "".join(found[0]["function"]["arguments"] for found in calls if found) == "{}"
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["prompt_tokens"] == 4
    assert chunks[-1]["usage"]["completion_tokens"] == 9


PIECES = st.lists(st.text(min_size=1), max_size=5)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "g"]), st.dictionaries(st.text(), st.text())), max_size=3)


@given(pieces=PIECES, calls=CALLS)
def test_no_text_and_no_argument_is_lost_through_both(pieces: list[str], calls: list[tuple[str, dict[str, str]]]):
    sent = [chunk({"content": piece}) for piece in pieces]
    for index, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments)
        sent += [chunk(call(index, text[:3], name)), chunk(call(index, text[3:]))]
    back = chunks_of(events_of(*sent, chunk({}, "stop"), chunk(usage=USAGE)), shows_usage=True)
    deltas = [each["choices"][0]["delta"] for each in back if each["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "".join(pieces)
    told: dict[int, str] = {}
    for delta in deltas:
        for each in delta.get("tool_calls", ()):
            told[each["index"]] = told.get(each["index"], "") + each["function"]["arguments"]
    assert [json.loads(told[index]) for index in sorted(told)] == [arguments for _, arguments in calls]
    assert tokens_of(back[-1]["usage"]) == Tokens(7, 3, 2)


@pytest.mark.parametrize(
    ("reason", "theirs"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_a_whole_reply_goes_both_ways(reason: str, theirs: str):
    message = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    }
    usage = {**USAGE, "total_tokens": 10}
    completion = {"id": "1", "choices": [{"message": message, "finish_reason": reason}], "usage": usage}
    there = completion_to_message(completion, "m")
    assert there["stop_reason"] == theirs
    assert there["content"][1] == {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}
    back = message_to_completion(there, "m", 5)
    assert back["choices"][0]["message"] == message
    assert back["choices"][0]["finish_reason"] == reason
    assert back["usage"] == usage


def test_arguments_that_are_no_json_are_no_reply():
    function = {"name": "f", "arguments": "{"}
    message = {"content": None, "tool_calls": [{"id": "a", "function": function}]}
    with pytest.raises(ValueError):
        completion_to_message({"choices": [{"message": message}]}, "m")
