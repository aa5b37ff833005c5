"""Checked reads from a caller's or a provider's JSON, which may hold anything anywhere."""

from __future__ import annotations

import json
import re
from typing import Any

from catalog.errors import InvalidRequest

_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,39}")


def as_list(value: Any, field: str) -> list[Any]:
    """A list. Raises InvalidRequest."""
    if not isinstance(value, list):
        raise InvalidRequest(f"{field} must be a list.", param=field)
    return value


def as_object(value: Any, field: str) -> dict[str, Any]:
    """An object. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise InvalidRequest(f"{field} must hold objects.", param=field)
    return value


def as_text(value: Any, field: str) -> str:
    """A string. Raises InvalidRequest."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} must be text.", param=field)
    return value


def arguments_of(text: str) -> dict[str, Any]:
    """A tool call's arguments, which OpenAI writes as JSON in a string; none is `{}`. Raises ValueError."""
    arguments = json.loads(text) if text.strip() else {}
    if not isinstance(arguments, dict):
        raise ValueError("arguments are no object")
    return arguments


def require_known(body: dict[str, Any], known: frozenset[str], what: str) -> None:
    """Raise InvalidRequest for a field with a value that the other side cannot be told."""
    for field, value in body.items():
        if field in known or value is None:
            continue
        # A caller's own words are not echoed; a field's name is.
        name = field if _FIELD_NAME.fullmatch(field) else "A field of the body"
        raise InvalidRequest(
            f"{name} has no equivalent in {what}, which this model's provider speaks.",
            param=field if name == field else None,
        )
