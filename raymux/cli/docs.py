"""Writes the reference page of the command line: `python -m raymux.cli.docs`; `--check` only compares."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from raymux.cli.app import build_app
from raymux.cli.errors import ExitCode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"

# Options that every command which talks to a server has; they are described once.
_SHARED = ("--output", "--url", "--api-key", "--profile")
_NOT_LISTED = ("--help", "--install-completion", "--show-completion")


def main(arguments: list[str]) -> int:
    """Write the page; with `--check` only compare, and return 1 when it is out of date."""
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        print(f"docs/reference/{PAGE.name} is out of date: run `python -m raymux.cli.docs`", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    """Every command with its arguments and options, and what exit statuses mean."""
    root: Any = typer.main.get_command(build_app())
    lines = [
        "# Command line",
        "",
        "Written by `python -m raymux.cli.docs` from the commands; do not edit. The page to begin with is",
        "[The command line](../cli.md).",
        "",
        "Commands that talk to a server also take these options:",
        "",
        *_table(_find(root, "models", "list"), "Option", "option", only=_SHARED),
        "",
        "| Exit status | Means |",
        "| --- | --- |",
        *(f"| {code.value} | {code.meaning} |" for code in ExitCode),
    ]
    for words, command in _commands(root, ()):
        lines += ["", f"## raymux {' '.join(words)}", "", *_description(command)]
        for title, kind in (("Argument", "argument"), ("Option", "option")):
            rows = _table(command, title, kind, but=_SHARED if _talks(command) else ())
            lines += ["", *rows] if len(rows) > 2 else []
    return "\n".join(lines) + "\n"


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def _find(group: Any, *words: str) -> Any:
    for word in words:
        group = group.commands[word]
    return group


def _talks(command: Any) -> bool:
    return "url" in {each.name for each in command.params} and "profile" in {each.name for each in command.params}


def _description(command: Any) -> list[str]:
    return inspect.cleandoc(command.help or "").splitlines()


def _table(command: Any, title: str, kind: str, only: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> list[str]:
    """The parameters of a kind, as the command's own help describes them."""
    rows = [f"| {title} | Meaning |", "| --- | --- |"]
    context = typer.Context(command, info_name="raymux")
    for each in command.params:
        names = {*each.opts}
        if each.param_type_name != kind or names & {*but, *_NOT_LISTED} or (only and not names & {*only}):
            continue
        spelled, meaning = (text.replace("|", "\\|") for text in each.get_help_record(context))
        rows.append(f"| `{spelled}` | {meaning} |")
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
