"""An engine's refusal, in raymux's shape: vLLM 0.32 sends integer codes, `{"detail": ...}`, and parts of the input."""

from __future__ import annotations

import json
import re
from typing import Any

from catalog.errors import ContextLengthExceeded, InvalidRequest, RaymuxError, UpstreamError

MAX_MESSAGE_CHARS = 500

# Where pydantic and vLLM begin to quote the caller's input.
_ECHO = re.compile(r"(,\s*|\s*\[)?(['\"]?input(_value|_type)?['\"]?\s*[:=]|input_value=).*", re.DOTALL)
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
    except ValueError:
        return "", None
    if not isinstance(data, dict):
        return "", None
    error = data.get("error", data)
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        param = error.get("param")
        return _clean(error["message"]), param if isinstance(param, str) else None
    return _from_detail(data.get("detail"))


def _from_detail(detail: Any) -> tuple[str, str | None]:
    """FastAPI's form: a string, or a list of `{"loc": [...], "msg": "..."}`."""
    if isinstance(detail, str):
        return _clean(detail), None
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        where = ".".join(str(step) for step in detail[0].get("loc", ()) if step != "body")
        return _clean(f"{where}: {detail[0].get('msg', 'invalid')}"), where[:100] or None
    return "", None


def _clean(message: str) -> str:
    message = _ECHO.sub("", message).strip()
    return message if len(message) <= MAX_MESSAGE_CHARS else message[:MAX_MESSAGE_CHARS] + "..."
