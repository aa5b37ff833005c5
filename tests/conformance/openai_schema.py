"""JSON Schemas (draft 2020-12) of the OpenAI objects that raymux returns, written from OpenAI's published reference.

Further fields are allowed everywhere, as OpenAI's own clients allow them. An optional field may also be null: vLLM
writes out fields that it leaves empty, and OpenAI's clients read both alike. One field that the reference requires is
optional here, because vLLM 0.32 has no such field at all: a response's `error`.
"""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIMESTAMP: Schema = {"type": "integer", "minimum": 0}
ID: Schema = {"type": "string", "minLength": 1}
NULL: Schema = {"type": "null"}


def const(value: str) -> Schema:
    return {"const": value}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object with these fields; an optional one may be null."""
    properties = {**required, **{name: nullable(schema) for name, schema in (optional or {}).items()}}
    return {"type": "object", "required": list(required), "properties": properties}


# Chat

_USAGE = record(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
    {
        "prompt_tokens_details": record({}, {"cached_tokens": COUNT, "audio_tokens": COUNT}),
        "completion_tokens_details": record({}, {"reasoning_tokens": COUNT, "audio_tokens": COUNT}),
    },
)
_TOKEN_LOGPROB = {"token": STRING, "logprob": NUMBER, "bytes": nullable(array(COUNT))}
_CHAT_LOGPROBS = record(
    {},
    {
        "content": array(record({**_TOKEN_LOGPROB, "top_logprobs": array(record(_TOKEN_LOGPROB))})),
        "refusal": array(record({**_TOKEN_LOGPROB, "top_logprobs": array(record(_TOKEN_LOGPROB))})),
    },
)
_TOOL_CALL = record({"id": ID, "type": const("function"), "function": record({"name": STRING, "arguments": STRING})})
_MESSAGE = record(
    {"role": const("assistant"), "content": nullable(STRING), "refusal": nullable(STRING)},
    {
        "tool_calls": array(_TOOL_CALL),
        "annotations": array(OBJECT),
        "audio": OBJECT,
        "function_call": record({"name": STRING, "arguments": STRING}),
    },
)
_FINISH_REASON = one_of("stop", "length", "tool_calls", "content_filter", "function_call")
_CHAT_OPTIONAL = {
    "service_tier": one_of("auto", "default", "flex", "scale", "priority"),
    "system_fingerprint": STRING,
}

CHAT_COMPLETION = record(
    {
        "id": ID,
        "object": const("chat.completion"),
        "created": TIMESTAMP,
        "model": ID,
        "choices": array(
            record(
                {
                    "index": COUNT,
                    "message": _MESSAGE,
                    "finish_reason": _FINISH_REASON,
                    "logprobs": nullable(_CHAT_LOGPROBS),
                }
            ),
            minItems=1,
        ),
    },
    {"usage": _USAGE, **_CHAT_OPTIONAL},
)

_TOOL_CALL_DELTA = record(
    {"index": COUNT},
    {"id": STRING, "type": const("function"), "function": record({}, {"name": STRING, "arguments": STRING})},
)
_DELTA = record(
    {},
    {
        "role": one_of("developer", "system", "user", "assistant", "tool"),
        "content": STRING,
        "refusal": STRING,
        "tool_calls": array(_TOOL_CALL_DELTA),
        "function_call": OBJECT,
    },
)

CHAT_COMPLETION_CHUNK = record(
    {
        "id": ID,
        "object": const("chat.completion.chunk"),
        "created": TIMESTAMP,
        "model": ID,
        # Empty in the last chunk when usage is asked for.
        "choices": array(
            record(
                {"index": COUNT, "delta": _DELTA, "finish_reason": nullable(_FINISH_REASON)},
                {"logprobs": _CHAT_LOGPROBS},
            )
        ),
    },
    {"usage": _USAGE, **_CHAT_OPTIONAL},
)

# Completions

_TEXT_LOGPROBS = record(
    {},
    {
        "text_offset": array(COUNT),
        "token_logprobs": array(nullable(NUMBER)),
        "tokens": array(STRING),
        "top_logprobs": array(nullable({"type": "object", "additionalProperties": NUMBER})),
    },
)


def _text_completion(finish_reason: Schema, **choices: Any) -> Schema:
    choice = {"index": COUNT, "text": STRING, "logprobs": nullable(_TEXT_LOGPROBS), "finish_reason": finish_reason}
    return record(
        {
            "id": ID,
            "object": const("text_completion"),
            "created": TIMESTAMP,
            "model": ID,
            "choices": array(record(choice), **choices),
        },
        {"usage": _USAGE, "system_fingerprint": STRING},
    )


_TEXT_FINISH_REASON = one_of("stop", "length", "content_filter")
TEXT_COMPLETION = _text_completion(_TEXT_FINISH_REASON, minItems=1)
TEXT_COMPLETION_CHUNK = _text_completion(nullable(_TEXT_FINISH_REASON))

# Responses

_OUTPUT_TEXT = record(
    {"type": const("output_text"), "text": STRING, "annotations": array(OBJECT)}, {"logprobs": array(OBJECT)}
)
_ITEM_STATUS = one_of("in_progress", "completed", "incomplete")
_OUTPUT_MESSAGE = record(
    {
        "id": ID,
        "type": const("message"),
        "role": const("assistant"),
        "status": _ITEM_STATUS,
        "content": array(_OUTPUT_TEXT),
    }
)
_OUTPUT_ITEM = {
    "type": "object",
    "required": ["type"],
    "if": {"properties": {"type": const("message")}},
    "then": _OUTPUT_MESSAGE,
}

RESPONSE = record(
    {
        "id": ID,
        "object": const("response"),
        "created_at": {"type": "number", "minimum": 0},
        "model": ID,
        "output": array(_OUTPUT_ITEM),
        "parallel_tool_calls": BOOLEAN,
        "tools": array(OBJECT),
        "tool_choice": {"anyOf": [one_of("none", "auto", "required"), OBJECT]},
        "temperature": nullable(NUMBER),
        "top_p": nullable(NUMBER),
        "metadata": nullable(OBJECT),
        "instructions": nullable({"type": ["string", "array"]}),
        "incomplete_details": nullable(record({}, {"reason": one_of("max_output_tokens", "content_filter")})),
    },
    {
        "error": record({"code": STRING, "message": STRING}),
        "status": one_of("completed", "failed", "in_progress", "cancelled", "queued", "incomplete"),
        "max_output_tokens": INTEGER,
        "usage": record(
            {
                "input_tokens": COUNT,
                "input_tokens_details": record({"cached_tokens": COUNT}),
                "output_tokens": COUNT,
                "output_tokens_details": record({"reasoning_tokens": COUNT}),
                "total_tokens": COUNT,
            }
        ),
    },
)

_AT_ITEM = {"output_index": COUNT, "item_id": ID, "content_index": COUNT}
_EVENTS = {
    **{
        key: {"response": RESPONSE}
        for key in [
            "response.created",
            "response.in_progress",
            "response.completed",
            "response.incomplete",
            "response.failed",
        ]
    },
    **{
        key: {"output_index": COUNT, "item": _OUTPUT_ITEM}
        for key in ["response.output_item.added", "response.output_item.done"]
    },
    **{
        key: {**_AT_ITEM, "part": _OUTPUT_TEXT} for key in ["response.content_part.added", "response.content_part.done"]
    },
    "response.output_text.delta": {**_AT_ITEM, "delta": STRING},
    "response.output_text.done": {**_AT_ITEM, "text": STRING},
    "error": {"message": STRING},
}
# The type of the last event says how the response ended.
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}

RESPONSE_EVENT: Schema = {
    **record({"type": one_of(*_EVENTS), "sequence_number": COUNT}),
    "allOf": [{"if": {"properties": {"type": const(name)}}, "then": record(fields)} for name, fields in _EVENTS.items()]
    + [
        {
            "if": {"properties": {"type": const(name)}},
            "then": {"properties": {"response": record({"status": const(status)})}},
        }
        for name, status in _ENDS.items()
    ],
}

# Embeddings, models, errors

EMBEDDINGS = record(
    {
        "object": const("list"),
        "model": ID,
        "data": array(
            record(
                {
                    "object": const("embedding"),
                    "index": COUNT,
                    "embedding": {
                        "anyOf": [array(NUMBER, minItems=1), {"type": "string", "contentEncoding": "base64"}]
                    },
                }
            ),
            minItems=1,
        ),
        "usage": record({"prompt_tokens": COUNT, "total_tokens": COUNT}),
    }
)
MODEL = record({"id": ID, "object": const("model"), "created": TIMESTAMP, "owned_by": STRING})
MODEL_LIST = record({"object": const("list"), "data": array(MODEL)})
# OpenAI's four fields, and raymux's request id beside them.
ERROR = record(
    {
        "error": {
            **record(
                {
                    "message": ID,
                    "type": ID,
                    "param": nullable(STRING),
                    "code": {"type": "string", "pattern": "^[a-z_]+$"},
                    "request_id": ID,
                }
            ),
            "additionalProperties": False,
        }
    }
)

# Of a path without its `/v1`: the whole reply, and an event of a stream.
_OF_PATH: dict[str, tuple[Schema, Schema | None]] = {
    "/chat/completions": (CHAT_COMPLETION, CHAT_COMPLETION_CHUNK),
    "/completions": (TEXT_COMPLETION, TEXT_COMPLETION_CHUNK),
    "/responses": (RESPONSE, RESPONSE_EVENT),
    "/embeddings": (EMBEDDINGS, None),
    "/models": (MODEL_LIST, None),
}


def validate(schema: Schema, instance: Any) -> None:
    """Raise jsonschema's ValidationError unless the instance has the schema."""
    Draft202012Validator(schema).validate(instance)


def validate_body(path: str, status: int, body: bytes) -> None:
    """Check a whole reply of an endpoint; one that is not OpenAI's is checked only when it is an error."""
    if status >= 400:
        validate(ERROR, json.loads(body))
        return
    path = path.removeprefix("/v1")
    if path in _OF_PATH:
        validate(_OF_PATH[path][0], json.loads(body))
    elif path.startswith("/models/"):
        validate(MODEL, json.loads(body))


def validate_event(path: str, event: bytes) -> None:
    """Check one Server-Sent Event: a comment, `[DONE]`, an error or a chunk of the endpoint's stream."""
    schema = _OF_PATH.get(path.removeprefix("/v1"), (None, None))[1]
    fields = dict(line.split(": ", 1) for line in event.decode().split("\n") if not line.startswith(":") and line)
    data = fields.get("data")
    if data is None or data == "[DONE]" or schema is None:
        return
    chunk = json.loads(data)
    if "event" in fields:
        assert fields["event"] == chunk["type"], "an event's name is its type"
    validate(ERROR if "error" in chunk and "type" not in chunk else schema, chunk)
