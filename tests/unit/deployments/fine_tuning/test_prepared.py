"""Examples as TRL is given them: each answer after what an engine would have been asked."""

from __future__ import annotations

import json
from typing import Any

from catalog.fine_tuning import Method
from deployments.fine_tuning.examples import prepared
from deployments.fine_tuning.samples import first_prompts


def say(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def test_each_answer_is_learned_after_what_stands_before_it() -> None:
    messages = [say("system", "s"), say("user", "1"), say("assistant", "a"), say("user", "2"), say("assistant", "b")]
    made = prepared([{"messages": messages}], Method.SUPERVISED)
    assert [(len(each["prompt"]), each["completion"][0]["content"]) for each in made] == [(2, "a"), (4, "b")]


def test_an_answer_without_weight_is_only_read() -> None:
    messages = [say("user", "1"), say("assistant", "a", weight=0), say("user", "2"), say("assistant", "b", weight=1)]
    (made,) = prepared([{"messages": messages}], Method.SUPERVISED)
    assert made["completion"] == [say("assistant", "b")]
    assert made["prompt"][1] == say("assistant", "a")


def test_texts_stay_texts() -> None:
    line = {"prompt": "once", "completion": " upon a time"}
    assert prepared([line], Method.SUPERVISED) == [line]


def test_tool_calls_have_their_arguments_as_engines_give_them_to_templates() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    line = {"messages": [say("user", "1"), say("assistant", None, tool_calls=[call])], "tools": tools}
    (made,) = prepared([line], Method.SUPERVISED)
    (answer,) = made["completion"]
    assert answer["content"] == ""
    assert answer["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert json.loads(made["tools"]) == tools


def test_the_file_s_own_examples_are_left_as_they_were() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    line = {"messages": [say("user", "1"), say("assistant", None, tool_calls=[call])]}
    before = json.dumps(line)
    prepared([line], Method.SUPERVISED)
    assert json.dumps(line) == before


def test_preferences_are_a_prompt_and_two_answers() -> None:
    line = {
        "input": {"messages": [say("user", "1")]},
        "preferred_output": [say("assistant", "good")],
        "non_preferred_output": [say("assistant", "bad")],
    }
    (made,) = prepared([line], Method.DPO)
    assert (made["chosen"], made["rejected"]) == ([say("assistant", "good")], [say("assistant", "bad")])
    assert made["prompt"] == [say("user", "1")]


def test_samples_ask_the_first_examples_of_any_form() -> None:
    lines = [
        {"messages": [say("user", "1"), say("assistant", "a")]},
        {"prompt": "once", "completion": "b"},
        {"input": {"messages": [say("user", "2")]}},
        {"prompt": "never", "completion": "c"},
    ]
    assert [each.prompt for each in first_prompts(lines)] == ["1", "once", "2"]


def test_samples_ask_in_the_form_that_is_learned() -> None:
    """With the tools, and with arguments as templates take them: what is learned could not be rendered otherwise."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    asked = [say("user", "1"), say("assistant", None, tool_calls=[call]), say("tool", "3", tool_call_id="1")]
    chat = {"messages": [*asked, say("assistant", "b")], "tools": tools}
    preference = {"input": {"messages": asked, "tools": tools}}
    learned = prepared([chat], Method.SUPERVISED)[-1]["prompt"]
    for prompt in first_prompts([chat, preference]):
        assert (prompt.prompt, prompt.messages, prompt.tools) == ("3", learned, tools)
