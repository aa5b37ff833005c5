"""Writes the reference pages that follow from the code: `python -m catalog.docs`; `--check` only compares."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from catalog import errors
from catalog.errors import RaymuxError
from catalog.models import Settings
from catalog.settings import CatalogSettings, GatewaySettings

DOCS = Path(__file__).resolve().parents[1] / "docs" / "reference"

_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}


def main(arguments: list[str]) -> int:
    """Write the pages; with `--check` only compare, and return 1 when one is out of date."""
    pages = {
        "configuration.md": configuration(),
        "configuration.schema.json": json_schema(),
        "errors.md": error_table(),
    }
    stale = [name for name, text in pages.items() if _read(DOCS / name) != text]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run `python -m catalog.docs`", file=sys.stderr)
        return 1 if stale else 0
    DOCS.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (DOCS / name).write_text(pages[name], encoding="utf-8")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def configuration() -> str:
    """The page about `user_config`, one table per settings class."""
    lines = [
        "# Configuration",
        "",
        "Written by `python -m catalog.docs` from the settings classes; do not edit. The values live in the",
        "`user_config` of the two deployments in a Serve configuration file such as `serve_config.yaml`.",
    ]
    for title, root in (("ModelManager", CatalogSettings), ("Gateway", GatewaySettings)):
        lines += ["", f"## {title}", ""]
        for settings in _classes(root):
            lines += _table(settings)
    return "\n".join(lines) + "\n"


def _classes(root: type[Settings]) -> Iterator[type[Settings]]:
    yield root
    for field in root.model_fields.values():
        for inner in _settings_in(field.annotation):
            yield from _classes(inner)


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _settings_in(inner)


def _table(settings: type[Settings]) -> list[str]:
    rows = [
        f"| `{name}` | {_type(field.annotation)}{_bounds(field.metadata)} | {_default(field)} | {field.description} |"
        for name, field in settings.model_fields.items()
    ]
    head = ["| Field | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    return [f"### {settings.__name__}", "", inspect.getdoc(settings) or "", "", *head, *rows, ""]


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " or ".join(f"`{member}`" for member in annotation)
    if inner := get_args(annotation):
        if str(annotation).startswith("typing.Literal"):
            return " or ".join(f"`{value}`" for value in inner)
        if getattr(annotation, "__origin__", None) is tuple:
            return f"list of {_type(inner[0])}"
        if getattr(annotation, "__origin__", None) is dict:
            return "mapping"
        if hasattr(annotation, "__metadata__"):
            return _type(inner[0])
        return " or ".join(_type(part) for part in inner)
    return {str: "text", int: "integer", float: "number", bool: "true or false"}.get(annotation, annotation.__name__)


def _bounds(metadata: list[Any]) -> str:
    parts = [
        f"{sign} {getattr(bound, name):g}"
        for bound in metadata
        for name, sign in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return f", {', '.join(parts)}" if parts else ""


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()
    if isinstance(value, Settings):
        return "its defaults"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def json_schema() -> str:
    """JSON Schema of both `user_config`s, for editors."""
    schema = {"ModelManager": CatalogSettings.model_json_schema(), "Gateway": GatewaySettings.model_json_schema()}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def error_table() -> str:
    """The page about errors: status, code and when."""
    found = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, RaymuxError)}
    leaves = sorted((cls for cls in found if not cls.__subclasses__()), key=lambda cls: (cls.status, cls.code))
    rows = [f"| {cls.status} | `{cls.code}` | {inspect.getdoc(cls)} |" for cls in leaves]
    head = [
        "# Errors",
        "",
        "Written by `python -m catalog.docs` from `catalog/errors.py`; do not edit. Every error has the shape",
        '`{"error": {"message", "type", "param", "code", "request_id"}}`; after the first byte of a stream it comes as',
        "an event, and the stream ends without `[DONE]`.",
        "",
        "| Status | Code | When |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
