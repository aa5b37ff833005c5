from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidTrainingFile
from catalog.jobs import Form
from router.examples import MAX_LINE_BYTES, MAX_PROBLEMS, check_examples

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "Ahoy!"}
SYSTEM = {"role": "system", "content": "Be a pirate."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
CHAT = {"messages": [USER, ASSISTANT]}
COMPLETION = {"prompt": "1+1=", "completion": "2"}
PREFERENCE = {
    "input": {"messages": [USER]}, "preferred_output": [ASSISTANT],
    "non_preferred_output": [{"role": "assistant", "content": "Hello."}],
}  # fmt: skip


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), **fields}


def check(*examples: Any, max_examples: int = 100) -> Any:
    return check_examples([json.dumps(each).encode() + b"\n" for each in examples], max_examples)


def reason(*lines: bytes, max_examples: int = 100) -> str:
    with pytest.raises(InvalidTrainingFile) as caught:
        check_examples(lines, max_examples)
    assert (caught.value.status, caught.value.param) == (400, "file")
    return caught.value.message


def reason_of(example: Any) -> str:
    return reason(json.dumps(example).encode())


@pytest.mark.parametrize(
    ("example", "form"),
    [
        (CHAT, Form.CHAT),
        (chat(SYSTEM, USER, ASSISTANT, USER, ASSISTANT), Form.CHAT),
        (chat(USER, {**ASSISTANT, "weight": 0}, USER, {**ASSISTANT, "weight": 1}), Form.CHAT),
        (chat(USER, CALLING, TOOL, ASSISTANT, tools=[{"type": "function"}], parallel_tool_calls=False), Form.CHAT),
        (chat(USER, CALLING), Form.CHAT),
        (COMPLETION, Form.COMPLETION),
        (PREFERENCE, Form.PREFERENCE),
    ],
)
def test_each_form_of_the_reference_is_taken(example: Any, form: Form) -> None:
    assert check(example, example) == (form, 2)


def test_empty_lines_are_no_examples_but_count_as_lines() -> None:
    line = json.dumps(CHAT).encode()
    assert check_examples([b"\n", line, b"  \r\n", line], 2).num_examples == 2
    assert "line 3: " in reason(b"\n", line, b"{")


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ([], "is not a JSON object, but an array"),
        ({"text": "x"}, "neither `messages`"),
        ({"prompt": "x"}, "lacks `completion`"),
        ({"prompt": "x", "completion": ""}, "completion is empty"),
        ({"prompt": 1, "completion": "x"}, "prompt is not text"),
        ({**CHAT, "colour": "red"}, "no other fields"),
        ({**CHAT, "completion": "x"}, "no other fields"),
        ({"messages": []}, "not a list of 1 to"),
        ({"messages": "hi"}, "not a list of 1 to"),
        (chat("hi"), "messages[0] is not an object"),
        (chat({"role": "pirate", "content": "x"}), "messages[0].role is none of"),
        (chat({"role": [], "content": "x"}), "messages[0].role is none of"),
        (chat(USER), "must be of the assistant"),
        (chat(ASSISTANT), "speaks before the user"),
        (chat(SYSTEM, ASSISTANT), "speaks before the user"),
        (chat(USER, SYSTEM, ASSISTANT), "stands after another"),
        (chat(USER, USER, ASSISTANT), "two messages of the user"),
        (chat(USER, ASSISTANT, ASSISTANT), "two messages of the assistant"),
        (chat(USER, TOOL, ASSISTANT), "answers no tool call"),
        (chat(USER, CALLING, USER, ASSISTANT), "not answered"),
        (chat(USER, CALLING, {**TOOL, "tool_call_id": "c2"}, ASSISTANT), "answers no tool call"),
        (chat(USER, CALLING, TOOL, USER, ASSISTANT), "must answer the tool's message"),
        (chat(USER, {"role": "assistant", "content": ""}), "content is empty"),
        (chat(USER, {"role": "assistant", "content": None}), "content is not text"),
        (chat(USER, {"role": "assistant", "tool_calls": []}), "not a list of calls"),
        (chat(USER, {"role": "assistant", "tool_calls": [{}]}), "without an `id`"),
        (chat(USER, {**ASSISTANT, "weight": 2}), "neither 0 nor 1"),
        (chat(USER, {**ASSISTANT, "weight": 0}), "nothing to learn"),
        (chat({**USER, "tool_calls": [CALL]}, ASSISTANT), "no other fields"),
        ({**PREFERENCE, "input": {"messages": [USER, ASSISTANT]}}, "must be of the user or tool"),
        ({**PREFERENCE, "input": []}, "input is not an object"),
        ({**PREFERENCE, "preferred_output": []}, "not a list of one message"),
        ({**PREFERENCE, "preferred_output": [USER]}, "not a message of the assistant"),
        ({**PREFERENCE, "preferred_output": PREFERENCE["non_preferred_output"]}, "are the same"),
    ],
)
def test_what_is_no_example_is_told_with_its_line_and_reason(example: Any, expected: str) -> None:
    message = reason_of(example)
    assert expected in message
    assert "line 1: " in message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "is not valid JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"prompt": "x", "prompt": "y", "completion": "z"}', "occurs twice"),
        (b'{"prompt": NaN, "completion": "z"}', "NaN"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"prompt": ' + b"9" * 10_000 + b"}", "number that is too long"),
        (b'"' + b"x" * MAX_LINE_BYTES + b'"', "more than"),
    ],
)
def test_a_line_that_is_no_json_is_an_error_and_no_crash(line: bytes, expected: str) -> None:
    assert expected in reason(line)


def test_the_first_ten_problems_are_told() -> None:
    message = reason(*[b"{"] * 50)
    assert message.count("line ") == MAX_PROBLEMS
    assert "line 10:" in message
    assert "line 11:" not in message


def test_a_file_holds_one_form() -> None:
    with pytest.raises(InvalidTrainingFile, match="line 2: is a completion example, while line 1 is a chat one"):
        check(CHAT, COMPLETION)


def test_an_empty_file_and_one_with_too_many_examples_are_refused() -> None:
    assert "is empty" in reason()
    assert "is empty" in reason(b"\n", b" ")
    line = json.dumps(CHAT).encode()
    assert "more than 2 examples" in reason(line, line, line, max_examples=2)


def test_what_a_line_holds_is_never_repeated() -> None:
    assert "secret" not in reason_of({"messages": [{"role": "my secret", "content": "x"}], "secret": 1})


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "tool_calls", "input", "prompt", "id", "preferred_output"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_any_json_is_an_example_or_told(value: Any) -> None:
    # Anything else that is raised fails the test.
    with suppress(InvalidTrainingFile):
        check(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_examples_or_told(line: bytes) -> None:
    with pytest.raises(InvalidTrainingFile):
        check_examples([line], 10)
