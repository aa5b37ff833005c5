"""A file's examples in the form of TRL: a prompt and what is to be learned after it, as an engine would see them.

A conversation becomes one example for each answer in it that has a weight: what stands before the answer is the prompt,
so that each answer is learned in the words that an engine would be asked with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from catalog.fine_tuning import Method
from deployments.fine_tuning.storage import opened

Message = dict[str, Any]


def examples_of(location: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The examples of a stored file, each with the number of its line. Raises OSError."""
    with opened(location) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, json.loads(line)


def prepared(lines: Iterable[dict[str, Any]], method: Method) -> list[dict[str, Any]]:
    """What TRL's trainers are given."""
    if method is Method.DPO:
        return [_preference(line) for line in lines]
    return [example for line in lines for example in _supervised(line)]


def messages_of(given: Iterable[Message]) -> list[Message]:
    """A file's messages as an engine gives them to the model's chat template."""
    return [_message(each) for each in given]


def _supervised(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "prompt" in line:
        yield {"prompt": line["prompt"], "completion": line["completion"]}
        return
    messages = messages_of(line["messages"])
    for index, (message, given) in enumerate(zip(messages, line["messages"], strict=True)):
        if message["role"] == "assistant" and given.get("weight", 1):
            yield {"prompt": messages[:index], "completion": [message], **_tools(line)}


def _preference(line: dict[str, Any]) -> dict[str, Any]:
    prompt = line["input"]
    return {
        "prompt": messages_of(prompt["messages"]),
        "chosen": messages_of(line["preferred_output"]),
        "rejected": messages_of(line["non_preferred_output"]),
        **_tools(prompt),
    }


def _message(given: Message) -> Message:
    message = {name: value for name, value in given.items() if name != "weight" and value is not None}
    message.setdefault("content", "")
    if "tool_calls" in message:
        message["tool_calls"] = [_call(each) for each in message["tool_calls"]]
    return message


def _call(given: dict[str, Any]) -> dict[str, Any]:
    # As vLLM gives them to chat templates: an object where the API has its text.
    function = given["function"]
    return {**given, "function": {**function, "arguments": _arguments(function["arguments"])}}


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _tools(line: dict[str, Any]) -> dict[str, str]:
    # As text, which TRL reads: a table's column of objects would give each of them the fields of all the others.
    return {"tools": json.dumps(line.get("tools") or None)}
