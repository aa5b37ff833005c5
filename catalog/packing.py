"""The catalog as one text inside a Serve configuration: `python -m catalog.packing serve_config.yaml`.

Serve's controller copies each deployment's `user_config`, whole, in each of its loops, ten times a second: a tenth of
a core for a thousand models with an adapter each. A text is not copied. The packed configuration is the same one, for
`serve deploy` and `serve run`; `python -m deployments.serve` packs by itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from catalog.loading import APPLICATION, MODEL_MANAGER, PACKED, ConfigError, load


def packed(document: dict[str, Any]) -> dict[str, Any]:
    """A Serve configuration with its catalog packed. What cannot be packed, or is already, stays as it is."""
    applications = [_packed(each, APPLICATION, "deployments", _pack_deployments) for each in document["applications"]]
    return {**document, "applications": applications}


def _pack_deployments(deployments: list[Any]) -> list[Any]:
    return [_packed(each, MODEL_MANAGER, "user_config", _pack_catalog) for each in deployments]


def _packed(entry: Any, name: str, field: str, pack: Any) -> Any:
    if not isinstance(entry, dict) or entry.get("name") != name or not entry.get(field):
        return entry
    return {**entry, field: pack(entry[field])}


def _pack_catalog(user_config: dict[str, Any]) -> dict[str, Any]:
    try:
        return user_config if PACKED in user_config else {PACKED: json.dumps(user_config)}
    except TypeError:
        # Serve will say what of it JSON does not have.
        return user_config


def text_of(document: dict[str, Any]) -> str:
    """A Serve configuration as YAML."""
    return yaml.safe_dump(document, sort_keys=False, width=10_000)


def main(arguments: list[str]) -> int:
    """Print the packed configuration; 1 when the file is wrong, 2 for a wrong call."""
    if len(arguments) != 1:
        print("usage: python -m catalog.packing serve_config.yaml", file=sys.stderr)
        return 2
    try:
        print(text_of(packed(load(Path(arguments[0])).document)), end="")
    except ConfigError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
