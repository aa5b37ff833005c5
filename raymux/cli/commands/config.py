"""`raymux validate` and `raymux import`: configurations of servers."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from raymux.cli import server_parts
from raymux.cli.connection import Output, OutputOption
from raymux.cli.errors import CliError, ExitCode, NotInstalled
from raymux.cli.output import print_json
from raymux.convert import Format


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("validate")(validate)
    app.command("import")(import_)


def validate(
    file: Annotated[Path, typer.Argument(help="A Serve configuration such as serve_config.yaml.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a configuration before it runs; what is wrong is told with its line."""
    if output is Output.TABLE:
        print("\n".join(server_parts.validate(file)))
        return
    try:
        print_json({"file": str(file), "valid": True, "notes": server_parts.validate(file)})
    except CliError as error:
        print_json({"file": str(file), "valid": False, "error": str(error)})
        raise typer.Exit(ExitCode.FAILED) from None


def import_(
    file: Annotated[Path, typer.Argument(help="The other product's configuration.")],
    from_: Annotated[
        Format | None, typer.Option("--from", help="Whose it is; told by what is in it where not given.")
    ] = None,
    gpu: Annotated[str, typer.Option(help="The type of GPU for models that name none.")] = "L4",
    to: Annotated[Path | None, typer.Option(help="Where to write; without it to stdout.")] = None,
) -> None:
    """Turn a configuration of Ray Serve LLM, LiteLLM or llama-swap into a serve_config.yaml.

    What cannot be carried over stands as comments in the result, and on stderr.
    """
    from raymux.convert.conversion import ConversionError, convert

    if to is not None and to.exists():
        raise CliError(f"{to} exists already; remove it, or name another file with --to.", ExitCode.USAGE)
    try:
        text = file.read_text(encoding="utf-8")
        converted = convert(text, from_, gpu)
    except (OSError, UnicodeDecodeError):
        raise CliError(f"{file} cannot be read.", ExitCode.USAGE) from None
    except ConversionError as error:
        raise CliError(f"{file}: {error}") from None
    for warning in (*converted.warnings, *_check(converted.text)):
        print(f"warning: {warning}", file=sys.stderr)
    if to is None:
        sys.stdout.write(converted.text)
        return
    to.write_text(converted.text, encoding="utf-8")
    print(f"{to} is written; look at its comments, then `raymux validate {to}` and `raymux serve {to}`.")


def _check(text: str) -> list[str]:
    """What is to be said of the result. Raises CliError where it is not what a server takes."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "serve_config.yaml"
        draft.write_text(text, encoding="utf-8")
        try:
            server_parts.validate(draft)
        except NotInstalled as error:
            return [f"the result was not checked: {error}"]
        except CliError as error:
            raise CliError(f"the result is not valid: {str(error).replace(f'{draft}:', 'line ')}") from None
    return []
