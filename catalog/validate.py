"""Check a Serve configuration before it runs: `python -m catalog.validate serve_config.yaml`."""

from __future__ import annotations

import sys
from pathlib import Path

from catalog.catalog import Catalog
from catalog.fit_check import require_fit
from catalog.loading import ConfigError, load


def main(arguments: list[str]) -> int:
    """Print one line, and one of models whose fit cannot be told here.

    Returns 0 when the file is right, 1 when it is not, 2 for a wrong call.
    """
    if len(arguments) != 1:
        print("usage: python -m catalog.validate serve_config.yaml", file=sys.stderr)
        return 2
    try:
        config = load(Path(arguments[0]))
        unchecked = require_fit(config.catalog, config.catalog_at)
    except ConfigError as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1
    targets = list(Catalog(config.catalog).targets())
    print(f"{arguments[0]}: {len(targets)} models, adapters and checkpoints; listens on {config.host}:{config.port}")
    if unchecked:
        print(f"{arguments[0]}: fit not checked, weights not on this machine: {_few(unchecked)}")
    return 0


def _few(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
