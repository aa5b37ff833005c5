"""A request to Anthropic's Messages API as OpenAI's chat completions take it.

Left out without an error is what the other side has no place for and does without: cache marks, and a model's thinking
of earlier turns, which only the model that signed it can read.
"""

from __future__ import annotations

import json
from typing import Any

from catalog.errors import InvalidRequest
from router.anthropic.fields import as_list, as_object, as_text, require_known

_KNOWN = frozenset(
    {
        "model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "stream",
        "tools", "tool_choice", "metadata", "output_config",
        "service_tier", "thinking", "cache_control", "context_management",
    }
)  # fmt: skip
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
_FORGOTTEN = ("thinking", "redacted_thinking")


def messages_to_chat(body: dict[str, Any], max_tokens_field: str) -> dict[str, Any]:
    """The request in OpenAI's form. Raises InvalidRequest for what that form cannot say."""
    require_known(body, _KNOWN, "OpenAI's chat API")
    messages: list[dict[str, Any]] = []
    if body.get("system"):
        messages.append({"role": "system", "content": _text_of(body["system"], "system")})
    for message in as_list(body.get("messages"), "messages"):
        messages += _message(as_object(message, "messages"))
    request: dict[str, Any] = {"model": body["model"], "messages": messages}
    limit = body.get("max_tokens")
    if limit is None:
        raise InvalidRequest("max_tokens is required.", param="max_tokens")
    request[max_tokens_field] = limit
    for field, theirs in (("temperature", "temperature"), ("top_p", "top_p"), ("top_k", "top_k"), ("stream", "stream")):
        if body.get(field) is not None:
            request[theirs] = body[field]
    if body.get("stop_sequences"):
        request["stop"] = body["stop_sequences"]
    if body.get("tools"):
        request["tools"] = [_tool(as_object(tool, "tools")) for tool in as_list(body["tools"], "tools")]
        request.update(_tool_choice(body.get("tool_choice")))
    user = as_object(body.get("metadata") or {}, "metadata").get("user_id")
    if isinstance(user, str):
        request["user"] = user
    return request | _output(as_object(body.get("output_config") or {}, "output_config"))


def _output(config: dict[str, Any]) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if config.get("format") is not None:
        schema = as_object(config["format"], "output_config").get("schema")
        json_schema = {"name": "output", "schema": as_object(schema, "output_config"), "strict": True}
        output["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    if isinstance(config.get("effort"), str):
        output["reasoning_effort"] = _EFFORTS.get(config["effort"], "high")
    return output


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type", "custom") not in (None, "custom"):
        raise InvalidRequest("This model's provider takes tools with an input_schema only.", param="tools")
    function = {"name": as_text(tool.get("name"), "tools"), "parameters": as_object(tool.get("input_schema"), "tools")}
    function.update({key: tool[key] for key in ("description", "strict") if tool.get(key) is not None})
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> dict[str, Any]:
    if choice is None:
        return {}
    kind = as_object(choice, "tool_choice").get("type")
    words = {"auto": "auto", "any": "required", "none": "none"}
    if kind == "tool":
        function = {"name": as_text(choice.get("name"), "tool_choice")}
        translated: dict[str, Any] = {"tool_choice": {"type": "function", "function": function}}
    elif kind in words:
        translated = {"tool_choice": words[kind]}
    else:
        raise InvalidRequest("tool_choice is of type auto, any, tool or none.", param="tool_choice")
    if choice.get("disable_parallel_tool_use"):
        translated["parallel_tool_calls"] = False
    return translated


def _message(message: dict[str, Any]) -> list[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise InvalidRequest("The role of a message is user, assistant or system.", param="messages")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = [as_object(block, "messages") for block in as_list(content, "messages")]
    if role == "system":
        return [{"role": role, "content": _text_of(blocks, "messages")}]
    return _from_assistant(blocks) if role == "assistant" else _from_user(blocks)


def _from_assistant(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    text, calls = "", []
    for block in blocks:
        if block.get("type") == "text":
            text += as_text(block.get("text"), "messages")
        elif block.get("type") == "tool_use":
            arguments = json.dumps(as_object(block.get("input"), "messages"))
            function = {"name": as_text(block.get("name"), "messages"), "arguments": arguments}
            calls.append({"id": as_text(block.get("id"), "messages"), "type": "function", "function": function})
        elif block.get("type") not in _FORGOTTEN:
            raise InvalidRequest("An assistant's message holds text and tool_use blocks here.", param="messages")
    if not text and not calls:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    return [{**message, "tool_calls": calls} if calls else message]


def _from_user(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results of tools become messages of their own, before the rest: OpenAI wants them right after the calls."""
    results, parts = [], []
    for block in blocks:
        if block.get("type") != "tool_result":
            parts.append(_part(block))
            continue
        content = block.get("content") or ""
        inner = [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content, "messages")
        translated = [_part(as_object(each, "messages")) for each in inner]
        text = "".join(part["text"] for part in translated if part["type"] == "text")
        # A tool's message may hold text only; its images follow as the user's.
        parts += [part for part in translated if part["type"] != "text"]
        call_id = as_text(block.get("tool_use_id"), "messages")
        results.append({"role": "tool", "tool_call_id": call_id, "content": text})
    return [*results, {"role": "user", "content": parts}] if parts else results


def _part(block: dict[str, Any]) -> dict[str, Any]:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": as_text(block.get("text"), "messages")}
    source = as_object(block.get("source") or {}, "messages")
    if kind == "document" and source.get("type") == "text":
        return {"type": "text", "text": as_text(source.get("data"), "messages")}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": _url(source)}}
    if kind == "document" and source.get("type") == "base64":
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": _url(source)}}
    raise InvalidRequest("This model's provider takes text, images, files and tool results.", param="messages")


def _url(source: dict[str, Any]) -> str:
    if source.get("type") == "url":
        return as_text(source.get("url"), "messages")
    if source.get("type") == "base64":
        media_type, data = as_text(source.get("media_type"), "messages"), as_text(source.get("data"), "messages")
        return f"data:{media_type};base64,{data}"
    raise InvalidRequest("The source of an image is of type base64 or url.", param="messages")


def _text_of(content: Any, field: str) -> str:
    """The text of a system prompt: a string, or blocks of text, which a blank line parts."""
    if isinstance(content, str):
        return content
    blocks = [as_object(block, field) for block in as_list(content, field)]
    return "\n\n".join(as_text(block.get("text"), field) for block in blocks)
