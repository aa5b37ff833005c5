"""A chat completion request as Anthropic's Messages API takes it (its reference, version 2023-06-01).

What cannot be said there is a 400, but for hints that change no meaning (`seed`, `store`, `user` becomes metadata).
"""

from __future__ import annotations

import re
from typing import Any

from catalog.errors import InvalidRequest
from router.anthropic.fields import arguments_of, as_list, as_object, as_text, require_known

_KNOWN = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "stream",
        "stream_options", "tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "user",
        # Hints without an equivalent, which change what it costs or how it repeats but not what is asked for.
        "seed", "store", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
        "verbosity",
    }
)  # fmt: skip
# Values that say the same as leaving the field out.
_DEFAULTS: dict[str, Any] = {
    "n": 1, "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "modalities": ["text"],
    "top_logprobs": 0,
}  # fmt: skip
_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def chat_to_messages(body: dict[str, Any], max_output_tokens: int) -> dict[str, Any]:
    """The request in Anthropic's form. Raises InvalidRequest for what that form cannot say."""
    body = {field: value for field, value in body.items() if field not in _DEFAULTS or value != _DEFAULTS[field]}
    require_known(body, _KNOWN, "Anthropic's API")
    system, messages = _messages(as_list(body.get("messages"), "messages"))
    if not messages:
        raise InvalidRequest("messages must hold a user's message that is not empty.", param="messages")
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or max_output_tokens
    request: dict[str, Any] = {"model": body["model"], "max_tokens": limit, "messages": messages}
    if system:
        request["system"] = system
    request.update({field: body[field] for field in ("top_p", "top_k", "stream") if body.get(field) is not None})
    if body.get("temperature") is not None:
        request["temperature"] = _temperature(body["temperature"])
    if body.get("stop"):
        request["stop_sequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    if body.get("tools"):
        request["tools"] = [_tool(as_object(tool, "tools")) for tool in as_list(body["tools"], "tools")]
        if (choice := _tool_choice(body.get("tool_choice"), body.get("parallel_tool_calls"))) is not None:
            request["tool_choice"] = choice
    if isinstance(body.get("user"), str):
        request["metadata"] = {"user_id": body["user"]}
    if output := _output_config(body.get("response_format"), body.get("reasoning_effort")):
        request["output_config"] = output
    return request


def _temperature(value: Any) -> Any:
    """Anthropic's go from 0 to 1, OpenAI's to 2: what is hotter becomes 1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 2:
        raise InvalidRequest("temperature must be from 0 to 2.", param="temperature")
    return min(value, 1)


def _output_config(response_format: Any, effort: Any) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if response_format is not None:
        kind = as_object(response_format, "response_format").get("type")
        if kind == "json_schema":
            schema = as_object(response_format.get("json_schema"), "response_format").get("schema")
            config["format"] = {"type": "json_schema", "schema": as_object(schema, "response_format")}
        elif kind != "text":
            raise InvalidRequest(
                "This model's provider takes a response_format of type text or json_schema.", param="response_format"
            )
    if effort is not None and effort != "none":
        if effort not in _EFFORTS:
            raise InvalidRequest(f"reasoning_effort is none, {', '.join(_EFFORTS)}.", param="reasoning_effort")
        config["effort"] = _EFFORTS[effort]
    return config


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise InvalidRequest("This model's provider takes tools of type function only.", param="tools")
    function = as_object(tool.get("function"), "tools")
    translated = {
        "name": as_text(function.get("name"), "tools"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    translated.update({key: function[key] for key in ("description", "strict") if function.get(key) is not None})
    return translated


def _tool_choice(choice: Any, is_parallel: Any) -> dict[str, Any] | None:
    named = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if isinstance(named, dict):
        translated = {"type": "tool", "name": as_text(named.get("name"), "tool_choice")}
    elif choice is None or choice == "auto":
        translated = {"type": "auto"}
    elif choice in ("none", "required"):
        translated = {"type": "none" if choice == "none" else "any"}
    else:
        raise InvalidRequest("tool_choice is none, auto, required or one function.", param="tool_choice")
    if is_parallel is False and translated["type"] != "none":
        return {**translated, "disable_parallel_tool_use": True}
    return translated if choice is not None else None


def _messages(messages: list[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system blocks, and the messages with those of one role in a row made one: results of parallel tool calls
    must stand in one message."""
    system: list[dict[str, Any]] = []
    merged: list[dict[str, Any]] = []
    for message in messages:
        role = as_object(message, "messages").get("role")
        if role in ("system", "developer"):
            system += _blocks(message.get("content"))
            continue
        theirs, blocks = _message(role, message)
        if not blocks:
            continue
        if merged and merged[-1]["role"] == theirs:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": theirs, "content": blocks})
    return system, merged


def _message(role: Any, message: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    content = message.get("content")
    if role == "user":
        return "user", _blocks(content)
    if role == "tool":
        block = {"type": "tool_result", "tool_use_id": as_text(message.get("tool_call_id"), "messages")}
        return "user", [{**block, "content": _blocks(content)}]
    if role == "assistant":
        if message.get("function_call") is not None:
            raise InvalidRequest("function_call has no equivalent here; use tool_calls.", param="messages")
        blocks = _blocks(content)
        if isinstance(message.get("refusal"), str) and message["refusal"]:
            blocks.append({"type": "text", "text": message["refusal"]})
        return "assistant", blocks + [_tool_use(call) for call in as_list(message.get("tool_calls") or [], "messages")]
    raise InvalidRequest("The role of a message is system, developer, user, assistant or tool.", param="messages")


def _tool_use(call: Any) -> dict[str, Any]:
    function = as_object(as_object(call, "messages").get("function"), "messages")
    try:
        arguments = arguments_of(as_text(function.get("arguments", ""), "messages"))
    except (ValueError, RecursionError):
        raise InvalidRequest("The arguments of a tool call are not a JSON object.", param="messages") from None
    return {
        "type": "tool_use",
        "id": as_text(call.get("id"), "messages"),
        "name": as_text(function.get("name"), "messages"),
        "input": arguments,
    }


def _blocks(content: Any) -> list[dict[str, Any]]:
    """The content of a message; Anthropic refuses text that is empty, so that is left out."""
    if content is None:
        return []
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content, "messages")
    blocks = [_block(as_object(part, "messages")) for part in parts]
    return [block for block in blocks if block["type"] != "text" or block["text"]]


def _block(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"type": "text", "text": as_text(part.get(kind), "messages")}
    if kind == "image_url":
        url = as_text(as_object(part.get("image_url"), "messages").get("url"), "messages")
        return {"type": "image", "source": _source(url)}
    if kind == "file":
        data = as_text(as_object(part.get("file"), "messages").get("file_data"), "messages")
        return {"type": "document", "source": _source(data)}
    raise InvalidRequest("This model's provider takes text, images and files in messages.", param="messages")


def _source(url: str) -> dict[str, Any]:
    if found := _DATA_URL.match(url):
        return {"type": "base64", "media_type": found["type"], "data": url[found.end() :]}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    raise InvalidRequest("An image or file is an http(s) URL, or data:<type>;base64,<data>.", param="messages")
