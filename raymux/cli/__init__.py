"""The command line. Nothing is imported before a command needs it, so that `raymux --help` is there at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit with its status (`raymux/cli/errors.py`)."""
    from raymux.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
