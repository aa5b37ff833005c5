"""Every command in one application, and how each of them may end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from raymux.cli.commands import cluster, config, inference, keys, models, processes, profiles, services, tune
from raymux.cli.errors import CliError, ExitCode


def build_app() -> typer.Typer:
    """The application. Help is plain text: it needs no further library, and reads the same everywhere."""
    app = typer.Typer(
        name="raymux",
        help="Talks to a raymux server: chat, models, status; and prepares and runs one.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    app.add_typer(inference.app, name="inference")
    app.add_typer(models.app, name="models")
    cluster.add_to(app)
    app.add_typer(services.app, name="service")
    app.add_typer(tune.app, name="tune")
    app.add_typer(keys.app, name="keys")
    config.add_to(app)
    processes.add_to(app)
    app.add_typer(profiles.app, name="profile")
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. What went wrong is one line on stderr."""
    command = typer.main.get_command(build_app())
    try:
        status = command.main(args=list(arguments), prog_name="raymux", standalone_mode=False)
        return status if isinstance(status, int) else ExitCode.OK
    except CliError as error:
        return _fail(str(error), error.code)
    except typer.TyperException as error:
        message = error.format_message()
        if "\n" in message:
            # Called without a command: the help says more than an error could.
            print(message)
            return ExitCode.USAGE
        hint = f" See `{context.command_path} --help`." if (context := getattr(error, "ctx", None)) else ""
        return _fail(f"{message.rstrip('.')}.{hint}", ExitCode.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing is left to be flushed at exit.
        sys.stdout = None
        return ExitCode.FAILED


def _fail(message: str, code: ExitCode) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        from raymux import __version__

        print(f"raymux {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass
