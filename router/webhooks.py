"""Events that other services send: what they are called, what they must hold, and what they ask for.

type                                  data                                                    asks for
job.succeeded, checkpoint.ready       name (or base_model, job_id, checkpoint), source, ...   registration
model.promote                         model                                                   a promotion
model.warmup                          model, keep_warm_s, gpu_preference                      a warm-up
model.deleted                         model                                                   removal
"""

from __future__ import annotations

from typing import Any, NamedTuple

from catalog.errors import InvalidRequest

MAX_ID_CHARS = 256
# What has failed for a reason that may pass is tried again after so long, and given up after the last.
RETRY_AFTER_S = (1, 5, 30, 120, 600, 1_800, 3_600)


class Event(NamedTuple):
    """One event; `verb` is None for a type that nobody here knows, which is accepted and ignored."""

    type: str
    verb: str | None
    data: dict[str, Any]


_VERBS = {
    "job.succeeded": "register",
    "checkpoint.ready": "register",
    "model.promote": "promote",
    "model.warmup": "warmup",
    "model.deleted": "delete",
}


def read_event(body: dict[str, Any]) -> Event:
    """The event of a body `{"type", "data"}`. Raises InvalidRequest that names the field."""
    type_ = body.get("type")
    if not isinstance(type_, str) or not 0 < len(type_) <= 100:
        raise InvalidRequest("type must be a string of at most 100 characters.", param="type")
    verb = _VERBS.get(type_)
    data = body.get("data", {})
    if not isinstance(data, dict):
        raise InvalidRequest("data must be an object.", param="data")
    if verb == "register":
        return Event(type_, verb, registration(data))
    if verb is not None:
        _text(data, "model")
    return Event(type_, verb, data)


def registration(data: dict[str, Any]) -> dict[str, Any]:
    """The entry that `POST /v1/models` would take. Raises InvalidRequest.

    A sender that knows no names of models gives the base model, the job and, for an RL checkpoint, the checkpoint.
    """
    _text(data, "source")
    if data.get("name") is not None:
        _text(data, "name")
        return data
    base, job = _text(data, "base_model"), _text(data, "job_id")
    rest = {key: value for key, value in data.items() if key not in ("name", "base_model", "job_id", "checkpoint")}
    if data.get("checkpoint") is None:
        return {**rest, "name": f"peft:{base}:{job}"}
    return {**rest, "name": f"rl:{base}:{job}:{_text(data, 'checkpoint')}"}


def retry_after_s(num_attempts: int) -> float | None:
    """How long to wait after so many failed attempts; None to give up."""
    return RETRY_AFTER_S[num_attempts - 1] if num_attempts <= len(RETRY_AFTER_S) else None


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 1024:
        raise InvalidRequest(f"data.{name} must be a non-empty string.", param=f"data.{name}")
    return value
