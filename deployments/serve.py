"""`python -m deployments.serve serve_config.yaml`: checks the configuration, runs it, and says when it is ready.

The same as `serve run` with the environment that raymux recommends. Runs in the foreground until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from catalog.project import PROJECT


def main(arguments: list[str]) -> int:
    """Run until a signal; 0 after a clean stop, 1 when the configuration or the start is bad."""
    options = _options(arguments)
    # Only now: what a configuration is checked with takes a third of a second to import.
    from deployments.launch import launch

    return launch(options.config, options.log, plain=options.plain)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.serve", description="Run raymux on this machine.")
    parser.add_argument("config", type=_absolute, help="a Serve configuration such as serve_config.yaml")
    parser.add_argument("--plain", action="store_true", help="Serve's Python proxy instead of HAProxy")
    parser.add_argument(
        "--log",
        type=_log_file,
        default=PROJECT / "run" / "serve.log",
        help="where the server logs to; - for standard output",
    )
    return parser.parse_args(arguments)


def _absolute(text: str) -> Path:
    return Path(text).resolve()


def _log_file(text: str) -> Path | None:
    """None stands for standard output."""
    return None if text == "-" else _absolute(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
