"""`raymux profile`: addresses and keys that are remembered."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from raymux.cli import profile_store
from raymux.cli.connection import Output, OutputOption
from raymux.cli.errors import CliError, ExitCode
from raymux.cli.output import print_json, print_table
from raymux.cli.profile_store import Profile, Profiles
from raymux.client.address import plain_url

app = typer.Typer(help="Servers that are remembered, with their keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The profile's name.")]


@app.command("add")
def add(
    name: Name,
    url: Annotated[str, typer.Option(help="The server's address.")],
    api_key: Annotated[
        str | None, typer.Option(help="Its API key; without the option you are asked, or `-` reads it from stdin.")
    ] = None,
) -> None:
    """Remember a server, or change what is remembered of it. The first one is in use at once."""
    if api_key is None and sys.stdin.isatty():
        api_key = typer.prompt("API key (empty for none)", default="", hide_input=True, show_default=False, err=True)
    if api_key == "-":
        api_key = sys.stdin.readline().strip()
    try:
        address = plain_url(url)
    except ValueError as error:
        raise CliError(f"--url: {error}", ExitCode.USAGE) from None
    known = _load()
    profiles = {**known.profiles, name: Profile(address, api_key or None)}
    profile_store.save(Profiles(profiles, known.current or name))
    print(f"{name} is {address}{'' if (known.current or name) != name else ', which is in use'}.")


@app.command("use")
def use(name: Name) -> None:
    """Send what follows to this server."""
    known = _load()
    _require(known, name)
    profile_store.save(replace(known, current=name))
    print(f"{name} is in use: {known.profiles[name].url}.")


@app.command("list")
def list_profiles(output: OutputOption = Output.TABLE) -> None:
    """Every profile; keys are not shown."""
    known = _load()
    entries = [
        {"name": name, "url": profile.url, "has_key": bool(profile.api_key), "in_use": name == known.current}
        for name, profile in known.profiles.items()
    ]
    if output is Output.JSON:
        print_json(entries)
        return
    rows = [
        ("*" if each["in_use"] else "", each["name"], each["url"], "yes" if each["has_key"] else "no")
        for each in entries
    ]
    print_table(("", "PROFILE", "URL", "KEY"), rows, "There are no profiles yet; `raymux profile add` adds one.")


@app.command("remove")
def remove(name: Name) -> None:
    """Forget a server and its key."""
    known = _load()
    _require(known, name)
    profiles = {key: profile for key, profile in known.profiles.items() if key != name}
    profile_store.save(Profiles(profiles, None if known.current == name else known.current))
    print(f"{name} is forgotten.")


def _load() -> Profiles:
    try:
        return profile_store.load()
    except ValueError as error:
        raise CliError(str(error)) from None


def _require(known: Profiles, name: str) -> None:
    try:
        known.find(name)
    except ValueError as error:
        raise CliError(str(error), ExitCode.USAGE) from None
