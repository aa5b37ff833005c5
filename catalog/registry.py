"""Models that are registered at run time, beside those of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from catalog.errors import InvalidRequest
from catalog.models import AdapterSettings, CheckpointSettings, ModelSettings
from catalog.names import parse_name
from catalog.settings import CatalogSettings

Entry = ModelSettings | AdapterSettings | CheckpointSettings

_KINDS: dict[str, tuple[type[Entry], str]] = {
    "base": (ModelSettings, "models"),
    "peft": (AdapterSettings, "adapters"),
    "rl": (CheckpointSettings, "checkpoints"),
}


def parse_entry(fields: Mapping[str, Any]) -> Entry:
    """An entry as the configuration would hold it; the form of its `name` says of which kind it is.

    Raises InvalidRequest, which names the field.
    """
    name = fields.get("name")
    if not isinstance(name, str):
        raise InvalidRequest("name must be <base>, peft:<base>:<job> or rl:<base>:<job>:<checkpoint>.", param="name")
    try:
        cls, _ = _KINDS[parse_name(name).kind]
        return cls.model_validate(dict(fields))
    except ValidationError as error:
        where, message = first_problem(error)
        raise InvalidRequest(f"{where}: {message}", param=where) from None
    except ValueError as error:
        raise InvalidRequest(f"name: {error}", param="name") from None


def with_entries(settings: CatalogSettings, entries: Iterable[Entry]) -> CatalogSettings:
    """The settings with further entries. Raises ValueError, with the reason, when they do not go together."""
    lists: dict[str, list[Any]] = {field: list(getattr(settings, field)) for _, field in _KINDS.values()}
    for entry in entries:
        lists[next(field for cls, field in _KINDS.values() if isinstance(entry, cls))].append(entry)
    try:
        return CatalogSettings(**{**dict(settings), **lists})
    except ValidationError as error:
        raise ValueError(first_problem(error)[1]) from None


def with_fitting_entries(
    settings: CatalogSettings, entries: Mapping[str, Entry]
) -> tuple[CatalogSettings, dict[str, str]]:
    """The settings with those entries that go together with them, and the reason of each that does not, by name.

    The configuration may have changed since an entry was registered: it may have taken its name, or dropped its base.
    """
    try:
        return with_entries(settings, entries.values()), {}
    except ValueError:
        left_out: dict[str, str] = {}
    for name, entry in entries.items():
        try:
            settings = with_entries(settings, [entry])
        except ValueError as error:
            left_out[name] = str(error)
    return settings, left_out


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Where the first problem is, as a dotted path, and what is wrong there."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
