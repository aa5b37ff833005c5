"""Check a Serve configuration before it runs: `python -m catalog.validate serve_config.yaml`."""

from __future__ import annotations

import sys
from pathlib import Path

from catalog.catalog import Catalog
from catalog.fit_check import require_fit
from catalog.loading import ConfigError, load
from catalog.places import line_of_problem


def main(arguments: list[str]) -> int:
    """Print one line, and one of models whose fit cannot be told here.

    Returns 0 when the file is right, 1 when it is not, 2 for a wrong call.
    """
    if len(arguments) != 1:
        print("usage: python -m catalog.validate serve_config.yaml", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    try:
        print("\n".join(check(path)))
    except ConfigError as error:
        print(located(path, error), file=sys.stderr)
        return 1
    return 0


def check(path: Path) -> list[str]:
    """What is to be said of a file that is right, as lines. Raises ConfigError with its first problem."""
    config = load(path)
    unchecked = require_fit(config.catalog, config.catalog_at)
    targets = list(Catalog(config.catalog).targets())
    lines = [f"{path}: {len(targets)} models, adapters and checkpoints; listens on {config.host}:{config.port}"]
    if unchecked:
        lines.append(f"{path}: fit not checked, weights not on this machine: {_few(unchecked)}")
    return lines


def located(path: Path, error: ConfigError) -> str:
    """The problem with the file and the line that it is in, as far as that can be told."""
    message = str(error)
    if message.startswith(f"{path}:"):
        return message
    line = line_of_problem(path.read_text(encoding="utf-8"), message)
    return f"{path}: {message}" if line is None else f"{path}:{line}: {message}"


def _few(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
