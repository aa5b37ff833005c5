"""An engine's refusal, in raymux's shape: vLLM 0.32 sends integer codes, `{"detail": ...}`, and parts of the input."""

from __future__ import annotations

import json
import re
from typing import Any

from catalog.errors import ContextLengthExceeded, InvalidRequest, RaymuxError, UpstreamError

MAX_MESSAGE_CHARS = 500

# vLLM's text of a validation error: a Python list of pydantic's errors, each with the caller's input in it.
_PYDANTIC = re.compile(
    r"'loc': '(?P<loc>[^']{0,200})', 'msg': (?P<quote>['\"])(?P<msg>.{0,300}?)(?P=quote)[,}]", re.DOTALL
)
# Where other messages begin to quote the input.
_ECHO = re.compile(r"(,\s*|\s*\[|\s*\()?['\"]?input(_value|_type)?['\"]?\s*[:=].*", re.DOTALL)
# How vLLM writes values of the request into its own messages, and what stands there instead.
_VALUES = (
    (re.compile(r"\s*\(parameter=.*", re.DOTALL), ""),
    (
        re.compile(r"(Grammar error|Invalid grammar specification):.*", re.DOTALL),
        "This structure of the output is not valid.",
    ),
    (re.compile(r"\s*\((?:got|received) [^()]*\)", re.IGNORECASE), ""),
    (re.compile(r",? (?:got|received) (?:\w+=)?(?:\[.*\]|\S*[^\s.])", re.IGNORECASE | re.DOTALL), ""),
    (re.compile(r"(token_id\(s\)|token IDs:) \[.*?\]", re.DOTALL), r"\1"),
    (re.compile(r"\bToken id -?\d+"), "A token id"),
    (re.compile(r" with id '.*?'(?= not found)", re.DOTALL), " with this id"),
)
# Fields with keys of the caller's own.
_FREE_FIELDS = re.compile(
    r"^(logit_bias|metadata|vllm_xargs|chat_template_kwargs|mm_processor_kwargs|kv_transfer_params)\..*", re.DOTALL
)
_CONTEXT = re.compile(r"context length|maximum model length|max_model_len|longer than the maximum", re.IGNORECASE)


def from_engine(status: int, body: bytes) -> RaymuxError:
    """The error to report for an engine's reply of status 400 or more."""
    message, param = _read(body)
    if status >= 500:
        return UpstreamError("The engine failed to answer this request; try again.")
    if _CONTEXT.search(message):
        return ContextLengthExceeded(message, param=param)
    return InvalidRequest(message or "The engine refused this request.", param=param)


def _read(body: bytes) -> tuple[str, str | None]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(data, dict):
        return "", None
    error = data.get("error", data)
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return _from_detail(data.get("detail"))
    message, param = error["message"], error.get("param")
    if found := _PYDANTIC.search(message[:100_000]):
        return _at(found["loc"], found["msg"])
    return _clean(message), _field(param) if isinstance(param, str) else None


def _from_detail(detail: Any) -> tuple[str, str | None]:
    """FastAPI's form: a string, or a list of `{"loc": [...], "msg": "..."}`."""
    if isinstance(detail, str):
        return _clean(detail), None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        loc = detail[0].get("loc")
        return _at(".".join(map(str, loc)) if isinstance(loc, list) else "", str(detail[0].get("msg", "invalid")))
    return "", None


def _at(location: str, message: str) -> tuple[str, str | None]:
    field = _field(location)
    return _clean(f"{field}: {message}" if field else message), field


def _field(location: str) -> str | None:
    """The field of the body that a location such as `body.messages.0.role` names."""
    return _FREE_FIELDS.sub(r"\1", location.removeprefix("body").lstrip("."))[:100] or None


def _clean(message: str) -> str:
    # Cut first: the pattern takes quadratic time on a long run of spaces.
    message = _ECHO.sub("", message[: 2 * MAX_MESSAGE_CHARS])
    for pattern, instead in _VALUES:
        message = pattern.sub(instead, message)
    message = message.strip()
    return message if len(message) <= MAX_MESSAGE_CHARS else message[:MAX_MESSAGE_CHARS] + "..."
