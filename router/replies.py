"""A provider's reply on its way to the client: what of its bytes the client gets, and what they say of its end and use.

Where the provider answers in the form that the client asked for, its bytes go through as they are. The only thing taken
out is the chunk with the usage of a stream that raymux asked for and the client did not.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from typing import Any, Protocol

from router.anthropic.responses import Tokens, completion_to_message, message_to_completion, tokens_of
from router.anthropic.stream import ToChunks, ToEvents
from router.sse import DONE, ServerEvent, data_event, named_event
from router.upstream import Form, Outgoing, Plan

_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
# A longer whole reply is not parsed; its usage stands in its last bytes.
MAX_PARSED_BYTES = 256 * 1024
TAIL_BYTES = 4 * 1024

# The last event of a stream by endpoint: its name, or `[DONE]`.
_LAST = {
    "/v1/messages": ("message_stop",),
    "/v1/responses": ("response.completed", "response.incomplete", "response.failed", "error"),
}


class ErrorInReply(Exception):
    """The provider reports an error in the place of an answer: its error object."""

    def __init__(self, error: Any) -> None:
        super().__init__("the provider reports an error")
        self.error = error


class StreamReply(Protocol):
    """Turns events into what the client gets. `is_over` once the last one has come; `tokens` as far as known."""

    @property
    def tokens(self) -> Tokens | None: ...

    @property
    def is_over(self) -> bool: ...

    def take(self, event: ServerEvent) -> bytes:
        """The bytes that follow. Raises ValueError for what is no such event, and ErrorInReply."""
        ...


def stream_reply(plan: Plan, out: Outgoing, created_s: int) -> StreamReply:
    """For the reply to a stream's request."""
    if plan.form is Form.CHAT_FROM_MESSAGES:
        return _Chunks(ToChunks(out.asked_model, created_s, shows_usage=out.shows_usage))
    if plan.form is Form.MESSAGES_FROM_CHAT:
        return _Events(ToEvents(out.asked_model))
    return _Same(plan.endpoint, shows_usage=out.shows_usage)


class _Same:
    """Passes events on as they came."""

    def __init__(self, endpoint: str, *, shows_usage: bool) -> None:
        self._last = _LAST.get(endpoint)
        self._shows_usage = shows_usage
        self.tokens: Tokens | None = None
        self.is_over = False

    def take(self, event: ServerEvent) -> bytes:
        if event.data is None:
            _require_harmless(event)
            return event.raw
        if self._last is None and event.data.strip() == b"[DONE]":
            self.is_over = True
            return event.raw
        # A client would fail at an event that is cut short, so none is passed on unread.
        body = _object(event.data)
        self.is_over = self._last is not None and event.name in self._last
        if self._last is None or event.name == "error":
            _require_no_error(body)
        self._take_usage(body)
        if not self._shows_usage and self._last is None and body.get("choices") == [] and body.get("usage"):
            return b""
        return event.raw

    def _take_usage(self, body: dict[str, Any]) -> None:
        inner = next((body[key] for key in ("message", "response") if isinstance(body.get(key), dict)), {})
        tokens = tokens_of(body.get("usage")) or tokens_of(inner.get("usage"))
        if tokens is not None:
            before = self.tokens or Tokens()
            self.tokens = Tokens(*(new or old for new, old in zip(tokens, before, strict=True)))


class _Translated(ABC):
    """Passes events on in the other API's form."""

    def __init__(self, stream: ToChunks | ToEvents) -> None:
        self._stream = stream

    @property
    def tokens(self) -> Tokens | None:
        return self._stream.tokens

    @property
    def is_over(self) -> bool:
        return self._stream.is_over

    def take(self, event: ServerEvent) -> bytes:
        if event.data is None:
            _require_harmless(event)
            return b""
        body = _object(event.data)
        _require_no_error(body)
        return self._fed(body)

    @abstractmethod
    def _fed(self, body: dict[str, Any]) -> bytes: ...


class _Chunks(_Translated):
    _stream: ToChunks

    def _fed(self, body: dict[str, Any]) -> bytes:
        sent = b"".join(map(data_event, self._stream.feed(body)))
        return sent + DONE if self._stream.is_over else sent


class _Events(_Translated):
    _stream: ToEvents

    def take(self, event: ServerEvent) -> bytes:
        if event.data is not None and event.data.strip() == b"[DONE]":
            return b"".join(map(named_event, self._stream.end()))
        return super().take(event)

    def _fed(self, body: dict[str, Any]) -> bytes:
        return b"".join(map(named_event, self._stream.feed(body)))


def whole_reply(raw: bytes, plan: Plan, out: Outgoing, created_s: int) -> tuple[bytes, Tokens | None]:
    """A reply that came whole, as the client gets it, and what it used.

    Raises ValueError for what is no such reply, and ErrorInReply.
    """
    if plan.form is Form.SAME and len(raw) > MAX_PARSED_BYTES:
        return raw, _usage_in(raw[-TAIL_BYTES:])
    body = _object(raw)
    _require_no_error(body)
    tokens = tokens_of(body.get("usage"))
    try:
        if plan.form is Form.CHAT_FROM_MESSAGES:
            return json.dumps(message_to_completion(body, out.asked_model, created_s)).encode(), tokens
        if plan.form is Form.MESSAGES_FROM_CHAT:
            return json.dumps(completion_to_message(body, out.asked_model)).encode(), tokens
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the reply is incomplete") from error
    if "completions" in plan.endpoint and not body.get("choices"):
        raise ValueError("the reply has no choices")
    return raw, tokens


def _usage_in(tail: bytes) -> Tokens | None:
    ends = [found.end() for found in _USAGE.finditer(tail)]
    if not ends:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(tail[ends[-1] :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return tokens_of(usage)


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except RecursionError:
        raise ValueError("the reply is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("the reply is no JSON object")
    return body


def _require_harmless(event: ServerEvent) -> None:
    """Raise ValueError for lines that are neither comments nor fields of an event, such as a page of HTML."""
    if (line := event.raw.lstrip()) and not line.startswith((b":", b"event:", b"id:", b"retry:")):
        raise ValueError("this is no event")


def _require_no_error(body: dict[str, Any]) -> None:
    if body.get("type") == "error" or (body.get("error") and "choices" not in body and "content" not in body):
        raise ErrorInReply(body.get("error"))
