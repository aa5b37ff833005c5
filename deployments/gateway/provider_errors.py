"""An outside provider's refusals, in raymux's shape: what a caller may know, and whether to try again."""

from __future__ import annotations

import email.utils
import json
import re
from typing import Any

from catalog.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    PayloadTooLarge,
    RaymuxError,
    UpstreamError,
    UpstreamRateLimited,
)

MAX_MESSAGE_CHARS = 500
# When the provider does not say when it takes requests again.
DEFAULT_RETRY_AFTER_S = 10.0

# Whatever looks like a key or token, in a message that may repeat one.
_SECRET = re.compile(r"(?:\b(?:sk|pk|key|rk|tok)[-_][\w*.-]{6,}|\bBearer\s+\S+|\b[A-Za-z0-9_*-]{32,}\b)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_CONTEXT = re.compile(r"context.length|maximum context|prompt is too long|context window", re.IGNORECASE)
_RETRYABLE = frozenset({408, 409, 425, 500, 502, 503, 504, 529})
# Types of an error that comes in the place of an answer, with the status it would have had (both APIs' references).
_STATUS_OF_TYPE = {
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "insufficient_quota": 429, "requests": 429, "tokens": 429,
    "authentication_error": 401, "permission_error": 403, "invalid_api_key": 401, "billing_error": 402,
    "invalid_request_error": 400, "not_found_error": 404, "request_too_large": 413, "overloaded_error": 529,
}  # fmt: skip


class Refusal(Exception):
    """The provider lives, and will not answer: its circuit stays closed. `error` is what the caller is told."""

    def __init__(self, error: RaymuxError, *, is_retryable: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_retryable = is_retryable


def from_status(provider: str, status: int, body: bytes, retry_after_s: float | None, key: str) -> Exception:
    """What to raise for a reply of status 300 or more.

    A Refusal; or an UpstreamError where the provider itself fails, which counts against it and may be tried again.
    """
    return _from(provider, status, _error_in(body), retry_after_s, key)


def from_error_in_reply(provider: str, error: Any, key: str) -> Exception:
    """The same for an error object that came with status 200, or in a stream."""
    fields = error if isinstance(error, dict) else {}
    words = (fields.get("type"), fields.get("code"))
    status = next((_STATUS_OF_TYPE[word] for word in words if isinstance(word, str) and word in _STATUS_OF_TYPE), 500)
    return _from(provider, status, fields, None, key)


def _from(provider: str, status: int, error: dict[str, Any], retry_after_s: float | None, key: str) -> Exception:
    if status == 429:
        message = f"{provider} takes no more requests of this service just now; try again later."
        wait_s = retry_after_s if retry_after_s is not None else DEFAULT_RETRY_AFTER_S
        # Without a quota no wait helps.
        is_retryable = error.get("code") != "insufficient_quota"
        return Refusal(UpstreamRateLimited(message, retry_after_s=wait_s), is_retryable=is_retryable)
    if status in (401, 402, 403):
        return Refusal(UpstreamError(f"{provider} refused raymux's key; the operator of this service must mend it."))
    if status == 404:
        return Refusal(
            UpstreamError(f"{provider} does not know this model; the operator of this service must mend it.")
        )
    if status == 413:
        return Refusal(PayloadTooLarge(f"The body is larger than {provider} accepts."))
    if 300 <= status < 400:
        return Refusal(UpstreamError(f"{provider} answered with a redirect, which is not followed."))
    if status in _RETRYABLE or status >= 500:
        return UpstreamError(f"{provider} failed to answer this request; try again.", retry_after_s=retry_after_s)
    message = scrubbed(error.get("message"), key)
    param = error.get("param")
    told = f"{provider} refused the request: {message}" if message else f"{provider} refused the request."
    is_context = error.get("code") == "context_length_exceeded" or _CONTEXT.search(message)
    cls = ContextLengthExceeded if is_context else InvalidRequest
    return Refusal(cls(told, param=scrubbed(param, key)[:100] or None))


def scrubbed(message: Any, key: str) -> str:
    """A provider's message on one line, at most 500 characters of it, without anything that may be a key."""
    if not isinstance(message, str):
        return ""
    text = message[: 4 * MAX_MESSAGE_CHARS].replace(key, "…") if key else message[: 4 * MAX_MESSAGE_CHARS]
    text = _SECRET.sub("…", _CONTROL.sub(" ", text)).strip()
    return text if len(text) <= MAX_MESSAGE_CHARS else text[:MAX_MESSAGE_CHARS] + "…"


def _error_in(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = data.get("error", data) if isinstance(data, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def retry_after_of(header: str | None, now_s: float) -> float | None:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3), 0 or more; None where it says nothing."""
    if header is None or len(header) > 100:
        return None
    try:
        return min(86_400.0, max(0.0, float(header)))
    except ValueError:
        pass
    try:
        return min(86_400.0, max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - now_s))
    except (ValueError, TypeError, OverflowError):
        return None
