"""`raymux serve` and `raymux bench`: processes that run in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from raymux.cli import server_parts
from raymux.cli.errors import CliError, ExitCode

# The folder that holds `raymux/`; a checkout has `benchmarks/` beside it.
_PROJECT = Path(__file__).resolve().parents[3]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("serve")(serve)
    app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def serve(
    config: Annotated[Path, typer.Argument(help="A Serve configuration.")] = Path("serve_config.yaml"),
    plain: Annotated[bool, typer.Option("--plain", help="Serve's Python proxy instead of HAProxy.")] = False,
    log: Annotated[Path | None, typer.Option(help="Where the server logs to; `-` for standard output.")] = None,
) -> None:
    """Run a server on this machine until Ctrl-C."""
    if not config.is_file():
        raise CliError(f"there is no {config}; name a configuration, such as one of a checkout.", ExitCode.USAGE)
    more = [*(["--plain"] if plain else []), *(["--log", str(log)] if log is not None else [])]
    raise typer.Exit(server_parts.serve([str(config), *more]))


def bench(context: typer.Context) -> None:
    """Run the benchmarks of a checkout; what follows goes to `python -m benchmarks`."""
    if not (_PROJECT / "benchmarks" / "__main__.py").is_file():
        raise CliError("the benchmarks are part of a checkout of raymux, not of the installed package; run it there.")
    os.chdir(_PROJECT)
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *context.args])
