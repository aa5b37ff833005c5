"""Streams between the two forms: state machines that are fed one parsed event at a time.

to OpenAI's                               to Anthropic's
message_start        → role               first chunk          → message_start
content_block_start  → a call's id, name  a delta              → content_block_start where its block is not open,
content_block_delta  → content, arguments                        content_block_delta
message_delta        → finish_reason      finish_reason, usage   (kept)
message_stop         → usage, [DONE]      [DONE]               → content_block_stop, message_delta, message_stop
"""

from __future__ import annotations

import json
from typing import Any

from router.anthropic.responses import (
    Tokens,
    anthropic_usage,
    finish_reason,
    openai_usage,
    stop_reason,
    tokens_of,
)


class ToChunks:
    """Anthropic's events to OpenAI's chunks. `shows_usage` adds the chunk that `stream_options` asks for."""

    def __init__(self, model: str, created_s: int, *, shows_usage: bool) -> None:
        self._head = {"object": "chat.completion.chunk", "created": created_s, "model": model}
        self._id = "chatcmpl-0"
        self._shows_usage = shows_usage
        self._num_calls = 0
        # Of each open tool_use block: the index of its call, and its input if no delta has brought any.
        self._calls: dict[int, tuple[int, str]] = {}
        self.tokens: Tokens | None = None
        self.is_over = False

    def feed(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks that follow; `is_over` says when `[DONE]` does. Raises ValueError for what is no such event."""
        try:
            return self._feed(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("an event is incomplete") from error

    def _feed(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        match event["type"]:
            case "message_start":
                self._id = f"chatcmpl-{event['message']['id']}"
                self._take_usage(event["message"].get("usage"))
                return [self._chunk({"role": "assistant", "content": ""})]
            case "content_block_start":
                return self._start(event["index"], event["content_block"])
            case "content_block_delta":
                return self._delta(event["index"], event["delta"])
            case "content_block_stop":
                index, rest = self._calls.pop(event["index"], (0, ""))
                return [self._arguments(index, rest)] if rest else []
            case "message_delta":
                self._take_usage(event.get("usage"))
                reason = event["delta"].get("stop_reason")
                return [self._chunk({}, finish_reason(reason))] if reason else []
            case "message_stop":
                self.is_over = True
                usage = openai_usage(self.tokens or Tokens())
                return [{**self._chunk({}), "choices": [], "usage": usage}] if self._shows_usage else []
        # A ping, or what a later version adds, which is to be passed over.
        return []

    def _start(self, index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
        if block["type"] == "text" and block.get("text"):
            return [self._chunk({"content": block["text"]})]
        if block["type"] != "tool_use":
            return []
        call = self._num_calls
        self._num_calls += 1
        self._calls[index] = (call, json.dumps(block.get("input") or {}))
        function = {"name": block["name"], "arguments": ""}
        return [
            self._chunk({"tool_calls": [{"index": call, "id": block["id"], "type": "function", "function": function}]})
        ]

    def _delta(self, index: int, delta: dict[str, Any]) -> list[dict[str, Any]]:
        if delta["type"] == "text_delta":
            return [self._chunk({"content": delta["text"]})]
        if delta["type"] == "input_json_delta" and delta["partial_json"]:
            call, _ = self._calls[index]
            self._calls[index] = (call, "")
            return [self._arguments(call, delta["partial_json"])]
        return []

    def _arguments(self, call: int, text: str) -> dict[str, Any]:
        return self._chunk({"tool_calls": [{"index": call, "function": {"arguments": text}}]})

    def _take_usage(self, usage: Any) -> None:
        """What comes later is the total, but may leave out what was said at first."""
        tokens = tokens_of(usage)
        if tokens is not None:
            before = self.tokens or Tokens()
            self.tokens = Tokens(*(new or old for new, old in zip(tokens, before, strict=True)))

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {"id": self._id, **self._head, "choices": [choice]}


class ToEvents:
    """OpenAI's chunks to Anthropic's events, of the first choice. Blocks come one after the other."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._has_begun = False
        self._index = -1
        # What the open block is: None, "text", or the index of its tool call.
        self._open: str | int | None = None
        self._seen_calls: set[int] = set()
        self._reason: Any = None
        self.tokens: Tokens | None = None
        self.is_over = False

    def feed(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """The events that follow. Raises ValueError for what is no chunk, or cannot be told in blocks."""
        try:
            return self._feed(chunk)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("a chunk is incomplete") from error

    def _feed(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        self.tokens = tokens_of(chunk.get("usage")) or self.tokens
        events = [] if self._has_begun else [self._begin(chunk)]
        for choice in chunk["choices"]:
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            for text in (delta.get("content"), delta.get("refusal")):
                if text:
                    events += self._text(text)
            for call in delta.get("tool_calls") or ():
                events += self._call(call)
            self._reason = choice.get("finish_reason") or self._reason
        return events

    def end(self) -> list[dict[str, Any]]:
        """The events that follow `[DONE]`. Raises ValueError when nothing came before it."""
        if not self._has_begun or self._reason is None:
            raise ValueError("the stream ended before its answer did")
        self.is_over = True
        delta = {"stop_reason": stop_reason(self._reason), "stop_sequence": None}
        usage = anthropic_usage(self.tokens or Tokens())
        return [
            *self._close(),
            {"type": "message_delta", "delta": delta, "usage": usage},
            {"type": "message_stop"},
        ]

    def _begin(self, chunk: dict[str, Any]) -> dict[str, Any]:
        self._has_begun = True
        message = {
            "id": f"msg_{chunk.get('id')}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # Known at the end only: `message_delta` tells it.
            "usage": anthropic_usage(Tokens()),
        }
        return {"type": "message_start", "message": message}

    def _text(self, text: str) -> list[dict[str, Any]]:
        events = self._switch("text", {"type": "text", "text": ""})
        return [*events, self._block("content_block_delta", delta={"type": "text_delta", "text": text})]

    def _call(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        index, function = call.get("index", 0), call.get("function") or {}
        events: list[dict[str, Any]] = []
        if index != self._open:
            if index in self._seen_calls or not function.get("name"):
                raise ValueError("tool calls are interleaved, or have no name")
            self._seen_calls.add(index)
            block = {"type": "tool_use", "id": call.get("id") or f"call_{index}", "name": function["name"], "input": {}}
            events = self._switch(index, block)
        if arguments := function.get("arguments"):
            delta = {"type": "input_json_delta", "partial_json": arguments}
            events.append(self._block("content_block_delta", delta=delta))
        return events

    def _switch(self, to: str | int, block: dict[str, Any]) -> list[dict[str, Any]]:
        if self._open == to:
            return []
        events = self._close()
        self._open = to
        self._index += 1
        return [*events, self._block("content_block_start", content_block=block)]

    def _close(self) -> list[dict[str, Any]]:
        if self._open is None:
            return []
        self._open = None
        return [self._block("content_block_stop")]

    def _block(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "index": self._index, **fields}
