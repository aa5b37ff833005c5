"""Looks into a request's body: strict JSON, then only the fields that routing needs. The bytes go on unchanged."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from catalog.errors import InvalidRequest

# Far above any real request; a body beyond them would keep a parser busy for longer than a caller should be able to.
MAX_DEPTH = 64
MAX_OBJECTS = 100_000
MAX_INTEGER = 2**63 - 1

# Bounds of fields whose extremes cost an engine dearly (OpenAI's API reference has n up to 128).
_INTEGER_BOUNDS = {
    "n": (1, 128),
    "best_of": (1, 128),
    "max_tokens": (0, 2**31 - 1),
    "max_completion_tokens": (0, 2**31 - 1),
    "max_output_tokens": (1, 2**31 - 1),
    "min_tokens": (0, 2**31 - 1),
    "top_logprobs": (0, 1000),
    "top_n": (0, 2**31 - 1),
}
_COMPLETION_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
MAX_GUIDED_CHOICES = 1_000

_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,39}")


class Peek(NamedTuple):
    """What routing needs of a body; None where the field is absent or null. `fields` is all of it."""

    model: str | None
    stream: bool
    gpu_preference: Any
    max_tokens: int | None
    fields: dict[str, Any]


def peek(raw: bytes) -> Peek:
    """Check a request's body and take out what routing needs.

    Raises InvalidRequest for anything but one JSON object in UTF-8 without duplicate keys, NaN, Infinity, integers
    beyond 64 bits or more nesting than 64 levels, and for values whose type or range no engine accepts.
    """
    body = parse_object(raw)
    model = body.get("model")
    if model is not None and (not isinstance(model, str) or not model):
        raise InvalidRequest("model must be a non-empty string.", param="model")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("stream must be true or false.", param="stream")
    for field, (low, high) in _INTEGER_BOUNDS.items():
        if field in body:
            _check_integer(field, body[field], low, high)
    _check_guided(body)
    return Peek(model, bool(stream), body.get("gpu_preference"), _max_tokens(body), body)


def _max_tokens(body: dict[str, Any]) -> int | None:
    """Completion tokens that the request may ask for at most, over all its choices; None where it sets no bound."""
    bounds = [body[field] for field in _COMPLETION_BOUNDS if body.get(field) is not None]
    return min(bounds) * (body.get("n") or 1) if bounds else None


def parse_object(raw: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidRequest, like `peek`, for a body that is not strict JSON."""
    body = _parse(raw)
    if not isinstance(body, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {_kind(body)}.")
    return body


def with_model(raw: bytes, name: str) -> bytes:
    """The body of a checked request with a model in it; it overrides a null that is there."""
    fields = raw.rstrip()[:-1].rstrip()
    comma = b"" if fields.endswith(b"{") else b", "
    return fields + comma + b'"model": ' + json.dumps(name).encode() + b"}"


def replace_model(raw: bytes, name: str) -> bytes:
    """A body that `peek` has checked, with another model."""
    return json.dumps({**json.loads(raw), "model": name}).encode()


def _parse(raw: bytes) -> Any:
    if not raw.strip():
        raise InvalidRequest("The body is empty; send a JSON object.")
    num_brackets = raw.count(b"{") + raw.count(b"[")
    if raw.count(b"{") > MAX_OBJECTS:
        raise InvalidRequest(f"The body holds more than {MAX_OBJECTS} objects.")
    try:
        body = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        # Of int(): a number of more than 4300 digits. Ours are InvalidRequest already.
        raise InvalidRequest(f"The body holds a number that is too long ({type(error).__name__}).") from None
    if num_brackets > MAX_DEPTH:
        _check_depth(body)
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        # A caller's own key is not echoed; a field's name is.
        if not _FIELD_NAME.fullmatch(twice):
            raise InvalidRequest("A key occurs twice in one object.")
        raise InvalidRequest(f"The key {twice} occurs twice in one object.", param=twice)
    return result


def _constant(name: str) -> Any:
    raise InvalidRequest(f"The body holds {name}, which is not JSON.")


def _integer(digits: str) -> int:
    value = int(digits)
    if abs(value) > MAX_INTEGER:
        raise InvalidRequest("The body holds an integer beyond 64 bits.")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidRequest("The body holds a number beyond the range of a double.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float)


def _check_depth(body: Any) -> None:
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _check_integer(field: str, value: Any, low: int, high: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{field} must be an integer.", param=field)
    if not low <= value <= high:
        raise InvalidRequest(f"{field} must be from {low} to {high}.", param=field)


def _check_guided(body: dict[str, Any]) -> None:
    """Refuse what an engine's grammar compiler stalls or fails on: very many choices, a schema that is only itself."""
    structured = body.get("structured_outputs")
    choices = [body.get("guided_choice"), structured.get("choice") if isinstance(structured, dict) else None]
    for choice in choices:
        if isinstance(choice, list) and len(choice) > MAX_GUIDED_CHOICES:
            raise InvalidRequest(
                f"At most {MAX_GUIDED_CHOICES} guided choices are allowed.", param="structured_outputs"
            )
    response_format = body.get("response_format")
    schema = response_format.get("json_schema") if isinstance(response_format, dict) else None
    schema = schema.get("schema") if isinstance(schema, dict) else None
    if isinstance(schema, dict) and schema.get("$ref") == "#":
        raise InvalidRequest("The JSON schema refers to nothing but itself.", param="response_format")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")
