"""The schemas themselves: valid JSON Schema, and strict enough to refuse what OpenAI's clients would trip over."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from tests.conformance import openai_schema as schema

ERROR = {"error": {"message": "m", "type": "t", "param": None, "code": "c", "request_id": "r"}}
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "a", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
}


def test_schemas_are_schemas():
    found = [value for name, value in vars(schema).items() if name.isupper() and isinstance(value, dict)]
    assert len(found) > 10
    for each in found:
        Draft202012Validator.check_schema(each)


def test_good_objects_pass():
    schema.validate(schema.ERROR, ERROR)
    schema.validate(schema.CHAT_COMPLETION, COMPLETION)


@pytest.mark.parametrize(
    "change", [{"choices": []}, {"object": "chat"}, {"created": "now"}, {"id": ""}, {"usage": {}}, {"model": None}]
)
def test_bad_completion_is_refused(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        schema.validate(schema.CHAT_COMPLETION, {**COMPLETION, **change})


@pytest.mark.parametrize("change", [{"code": 400}, {"message": ""}, {"input": "x"}, {"param": 1}])
def test_bad_error_is_refused(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        schema.validate(schema.ERROR, {"error": {**ERROR["error"], **change}})


def test_cut_response_must_not_end_as_completed():
    response = {
        "id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "parallel_tool_calls": True,
        "tools": [], "tool_choice": "auto", "temperature": 1, "top_p": 1, "metadata": None, "instructions": None,
        "incomplete_details": {"reason": "max_output_tokens"}, "status": "incomplete",
    }  # fmt: skip
    event = {"type": "response.incomplete", "sequence_number": 0, "response": response}
    schema.validate(schema.RESPONSE_EVENT, event)
    with pytest.raises(ValidationError):
        schema.validate(schema.RESPONSE_EVENT, {**event, "type": "response.completed"})
