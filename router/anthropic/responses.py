"""Whole replies between OpenAI's chat completions and Anthropic's messages, stop reasons and usage.

A model's thinking has no place in OpenAI's form, and is left out.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from router.anthropic.fields import arguments_of


class Tokens(NamedTuple):
    """What a reply says it used; `cached` are among the prompt's."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}  # fmt: skip
_STOP = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use",
    "content_filter": "refusal",
}  # fmt: skip


def finish_reason(stop_reason: Any) -> str:
    """OpenAI's word for Anthropic's; `stop` for one that is new."""
    return _FINISH.get(stop_reason, "stop")


def stop_reason(finish_reason: Any) -> str:
    """Anthropic's word for OpenAI's; `end_turn` for one that is new."""
    return _STOP.get(finish_reason, "end_turn")


def tokens_of(usage: Any) -> Tokens | None:
    """What a usage object of either form says; None where it is none."""
    if not isinstance(usage, dict):
        return None
    if "prompt_tokens" in usage:
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
        return Tokens(_count(usage["prompt_tokens"]), _count(usage.get("completion_tokens")), _count(cached))
    if "input_tokens" in usage or "output_tokens" in usage:
        cached = _count(usage.get("cache_read_input_tokens"))
        prompt = _count(usage.get("input_tokens")) + _count(usage.get("cache_creation_input_tokens")) + cached
        return Tokens(prompt, _count(usage.get("output_tokens")), cached)
    return None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def openai_usage(tokens: Tokens) -> dict[str, Any]:
    """The usage object of a chat completion."""
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    }


def anthropic_usage(tokens: Tokens) -> dict[str, Any]:
    """The usage object of a message, whose input does not count what came from a cache."""
    return {
        "input_tokens": max(0, tokens.prompt - tokens.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.completion,
    }


def message_to_completion(message: dict[str, Any], model: str, created_s: int) -> dict[str, Any]:
    """A message as a chat completion. Raises ValueError for what is no message."""
    blocks = message.get("content")
    if not isinstance(blocks, list):
        raise ValueError("the reply is no message")
    text, calls = "", []
    for block in blocks:
        if block["type"] == "text":
            text += block["text"]
        elif block["type"] == "tool_use":
            function = {"name": block["name"], "arguments": json.dumps(block["input"])}
            calls.append({"id": block["id"], "type": "function", "function": function})
    translated: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if calls:
        translated["tool_calls"] = calls
    reason = finish_reason(message.get("stop_reason"))
    return {
        "id": f"chatcmpl-{message.get('id')}",
        "object": "chat.completion",
        "created": created_s,
        "model": model,
        "choices": [{"index": 0, "message": translated, "logprobs": None, "finish_reason": reason}],
        "usage": openai_usage(tokens_of(message.get("usage")) or Tokens()),
    }


def completion_to_message(completion: dict[str, Any], model: str) -> dict[str, Any]:
    """A chat completion's first choice as a message. Raises ValueError for what is no completion."""
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("the reply has no choices")
    message = choices[0]["message"]
    text = (message.get("content") or "") + (message.get("refusal") or "")
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = arguments_of(function.get("arguments") or "")
        content.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return {
        "id": f"msg_{completion.get('id')}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason(choices[0].get("finish_reason")),
        "stop_sequence": None,
        "usage": anthropic_usage(tokens_of(completion.get("usage")) or Tokens()),
    }
