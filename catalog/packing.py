"""The catalog as one text inside a Serve configuration: `python -m catalog.packing serve_config.yaml`.

Serve's controller copies each deployment's `user_config`, whole, in each of its loops, ten times a second: a tenth of
a core for a thousand models with an adapter each. A text is not copied. The packed configuration is the same one, for
`serve deploy` and `serve run`; `python -m deployments.serve` packs by itself.
"""

from __future__ import annotations

import copy
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from catalog.loading import APPLICATION, MODEL_MANAGER, PACKED, ConfigError, load, named


def packed(document: dict[str, Any]) -> dict[str, Any]:
    """A checked Serve configuration with its catalog packed. What cannot be packed, or is already, stays as it is."""
    document = copy.deepcopy(document)
    application, at = named(document["applications"], "applications", APPLICATION)
    manager, _ = named(application["deployments"], f"{at}.deployments", MODEL_MANAGER)
    catalog = manager.get("user_config")
    if catalog and PACKED not in catalog:
        # Serve will say what of it JSON does not have.
        with suppress(TypeError):
            manager["user_config"] = {PACKED: json.dumps(catalog)}
    return document


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
