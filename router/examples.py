"""Checks the examples of a fine-tuning file, line by line, in the forms of OpenAI's API reference.

    chat         {"messages": [...], "tools"?, "parallel_tool_calls"?}
    completion   {"prompt": "...", "completion": "..."}
    preference   {"input": {"messages": [...], "tools"?, "parallel_tool_calls"?},
                  "preferred_output": [{"role": "assistant", ...}], "non_preferred_output": [...]}

Messages begin with those of the system (or developer), if any; then come the user's and the assistant's by turns, a
turn of tools after each assistant's message with tool calls. The last one is the assistant's, for an input the user's
or a tool's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from catalog.errors import InvalidRequest, InvalidTrainingFile
from catalog.jobs import Form
from router.body import parse_object

MAX_PROBLEMS = 10
MAX_LINE_BYTES = 2 * 1024 * 1024
MAX_MESSAGES = 2_000

_FIELDS = {
    Form.CHAT: ({"messages"}, {"tools", "parallel_tool_calls"}),
    Form.COMPLETION: ({"prompt", "completion"}, set[str]()),
    Form.PREFERENCE: ({"input", "preferred_output", "non_preferred_output"}, set[str]()),
}
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "weight"},
    "tool": {"role", "content", "name", "tool_call_id"},
}


class Problem(NamedTuple):
    """What is wrong in a line; lines count from 1, and 0 stands for the whole file."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


class Examples(NamedTuple):
    """What a file without problems holds."""

    form: Form
    num_examples: int


class _Wrong(Exception):
    """Why a line is no example."""


def check_examples(lines: Iterable[bytes], max_examples: int) -> Examples:
    """The form and number of the examples in a file's lines.

    Raises InvalidTrainingFile, with the number and reason of each of the first ten lines that are wrong. Empty lines
    are none. What a line holds is never repeated.
    """
    form: Form | None = None
    first, num_examples, problems = 0, 0, list[Problem]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        num_examples += 1
        if num_examples > max_examples:
            problems.append(Problem(0, f"the file holds more than {max_examples} examples"))
            break
        try:
            found = _form_of(line)
            if form is None:
                form, first = found, number
            elif found is not form:
                raise _Wrong(f"is a {found} example, while line {first} is a {form} one; a file holds one form")
        except _Wrong as error:
            problems.append(Problem(number, str(error)))
            if len(problems) >= MAX_PROBLEMS:
                break
    if not num_examples:
        problems.append(Problem(0, "the file is empty: it must hold one JSON object a line"))
    if problems or form is None:
        raise InvalidTrainingFile(told(problems), param="file")
    return Examples(form, num_examples)


def told(problems: Sequence[Problem]) -> str:
    """Problems as one message."""
    more = " (these are the first ones)" if len(problems) >= MAX_PROBLEMS else ""
    return f"The file holds no valid examples: {'; '.join(map(str, problems))}{more}."


def _form_of(line: bytes) -> Form:
    """The form of a line that holds one example. Raises _Wrong."""
    if len(line) > MAX_LINE_BYTES:
        raise _Wrong(f"has more than {MAX_LINE_BYTES} bytes")
    example = _parsed(line)
    form = next((form for form, (required, _) in _FIELDS.items() if required & example.keys()), None)
    if form is None:
        raise _Wrong("has neither `messages`, `prompt` and `completion`, nor `input` with two outputs")
    required, optional = _FIELDS[form]
    _check_fields(example, required, required | optional, f"a {form} example")
    if form is Form.CHAT:
        _check_tools(example)
        _check_messages(example["messages"], "messages", last=("assistant",))
    elif form is Form.COMPLETION:
        for name in ("prompt", "completion"):
            _check_text(example[name], name)
    else:
        _check_preference(example)
    return form


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        return parse_object(line)
    except InvalidRequest as error:
        reason = error.message.removeprefix("The body ").rstrip(".")
        if "must be a JSON object" in reason:
            reason = reason.replace("must be", "is not").replace(", not", ", but")
        raise _Wrong(reason) from None


def _check_fields(value: Mapping[str, Any], required: Iterable[str], allowed: Iterable[str], what: str) -> None:
    missing = sorted(set(required) - value.keys())
    if missing:
        raise _Wrong(f"{what} lacks `{missing[0]}`")
    unknown = value.keys() - set(allowed)
    if unknown:
        # A field's own name may be anything, so the allowed ones are said instead.
        raise _Wrong(f"{what} may have no other fields than {', '.join(sorted(allowed))}")


def _check_preference(example: Mapping[str, Any]) -> None:
    prompt = example["input"]
    if not isinstance(prompt, dict):
        raise _Wrong("input is not an object")
    _check_fields(prompt, {"messages"}, {"messages", "tools", "parallel_tool_calls"}, "input")
    _check_tools(prompt)
    _check_messages(prompt["messages"], "input.messages", last=("user", "tool"))
    outputs = [example[name] for name in ("preferred_output", "non_preferred_output")]
    for name, output in zip(("preferred_output", "non_preferred_output"), outputs, strict=True):
        if not isinstance(output, list) or len(output) != 1:
            raise _Wrong(f"{name} is not a list of one message")
        message = _message(output[0], name)
        if message["role"] != "assistant":
            raise _Wrong(f"{name} is not a message of the assistant")
    if outputs[0] == outputs[1]:
        raise _Wrong("preferred_output and non_preferred_output are the same")


def _check_tools(example: Mapping[str, Any]) -> None:
    tools, parallel = example.get("tools", []), example.get("parallel_tool_calls", True)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _Wrong("tools is not a list of objects")
    if not isinstance(parallel, bool):
        raise _Wrong("parallel_tool_calls is not true or false")


def _check_messages(messages: Any, where: str, last: tuple[str, ...]) -> None:
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise _Wrong(f"{where} is not a list of 1 to {MAX_MESSAGES} messages")
    before, open_calls = "", set[str]()
    for index, value in enumerate(messages):
        place = f"{where}[{index}]"
        message = _message(value, place)
        role = "system" if message["role"] == "developer" else message["role"]
        _check_turn(before, role, bool(open_calls), place)
        if role == "tool":
            if message["tool_call_id"] not in open_calls:
                raise _Wrong(f"{place} answers no tool call before it")
            open_calls.remove(message["tool_call_id"])
        elif role == "assistant":
            open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        before = role
    if before not in last:
        raise _Wrong(f"the last of {where} must be of the {' or '.join(last)}")
    if before == "tool" and open_calls:
        raise _Wrong(f"the last of {where} leaves a tool call without its answer")
    if last == ("assistant",) and all(each.get("weight") == 0 for each in messages if each["role"] == "assistant"):
        raise _Wrong(f"every assistant's message of {where} has a weight of 0, so there is nothing to learn")


def _check_turn(before: str, role: str, has_open_calls: bool, place: str) -> None:
    """Whether a role may follow another one."""
    if role == "system":
        if before not in ("", "system"):
            raise _Wrong(f"{place}: a system message stands after another one's")
    elif has_open_calls and role != "tool":
        raise _Wrong(f"{place}: the tool calls before it are not answered")
    elif role == "tool" and not has_open_calls:
        raise _Wrong(f"{place} answers no tool call before it")
    elif role == before != "tool":
        raise _Wrong(f"{place}: two messages of the {role} follow each other")
    elif role == "assistant" and before in ("", "system"):
        raise _Wrong(f"{place}: the assistant speaks before the user")
    elif role == "user" and before == "tool":
        raise _Wrong(f"{place}: the assistant must answer the tool's message first")


def _message(message: Any, place: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise _Wrong(f"{place} is not an object")
    role = message.get("role")
    if role not in _ROLES:
        raise _Wrong(f"{place}.role is none of {', '.join(_ROLES)}")
    required = {"role", "tool_call_id"} if role == "tool" else {"role"}
    _check_fields(message, required, _MESSAGE_FIELDS[role], f"{place} of the {role}")
    calls = message.get("tool_calls")
    if calls is not None:
        _check_calls(calls, place)
    if not (calls and message.get("content") in (None, "")):
        _check_text(message.get("content"), f"{place}.content")
    if "weight" in message and (isinstance(message["weight"], bool) or message["weight"] not in (0, 1)):
        raise _Wrong(f"{place}.weight is neither 0 nor 1")
    for name in ("name", "tool_call_id"):
        if name in message and not isinstance(message[name], str):
            raise _Wrong(f"{place}.{name} is not text")
    return message


def _check_calls(calls: Any, place: str) -> None:
    if not isinstance(calls, list) or not calls:
        raise _Wrong(f"{place}.tool_calls is not a list of calls")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        is_call = (
            isinstance(function, dict)
            and isinstance(call.get("id"), str)
            and isinstance(function.get("name"), str)
            and isinstance(function.get("arguments"), str)
        )
        if not is_call:
            raise _Wrong(f"{place}.tool_calls holds something without an `id` and a `function` (name, arguments)")
    if len({call["id"] for call in calls}) != len(calls):
        raise _Wrong(f"{place}.tool_calls has an id twice")


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _Wrong(f"{where} is not text")
    if not value.strip():
        raise _Wrong(f"{where} is empty")
