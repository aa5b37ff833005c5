"""Where a command's requests go: options that every such command has, profiles, environment."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raymux.cli import profile_store
from raymux.cli.errors import CliError, ExitCode
from raymux.cli.output import print_json
from raymux.client.address import KEY_VARIABLE, Address, find_address, plain_url, url_in

if TYPE_CHECKING:
    from raymux.cli.api import Api

PROFILE_VARIABLE = "RAYMUX_PROFILE"


class Output(StrEnum):
    """Tables and text for people, or the server's JSON for scripts."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="`json` for scripts: what the server answers, as it is.")
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "output": (OutputOption, Output.TABLE),
    "url": (
        Annotated[str | None, typer.Option(help="The server's address; otherwise RAYMUX_URL or the profile's.")],
        None,
    ),
    "api_key": (
        Annotated[str | None, typer.Option(help="An API key; others can see it in the list of processes.")],
        None,
    ),
    "profile": (Annotated[str | None, typer.Option(help="A profile; see `raymux profile`.")], None),
}


class Session:
    """One command's view of the server: its address, the form of output, and a connection that opens when needed."""

    def __init__(self, address: Address, output: Output) -> None:
        self.address = address
        self.output = output

    @property
    def is_json(self) -> bool:
        return self.output is Output.JSON

    def show(self, reply: Any, text: str) -> None:
        """Print the server's reply, or what it says in words."""
        if self.is_json:
            print_json(reply)
        else:
            print(text)

    def order(self, path: str, what: str, **query: Any) -> None:
        """Have something done to a model, and say so: `what` goes on from its name."""
        accepted = self.api.post(path, **query)
        self.show(accepted, f"{accepted['id']} {what}")

    @cached_property
    def api(self) -> Api:
        # httpx takes a moment to import, which help and usage errors need not wait for.
        from raymux.cli.api import Api

        return Api(self.address)


def connected(app: typer.Typer, name: str, more: Sequence[inspect.Parameter] = ()) -> Callable[..., Any]:
    """Register a function as a command that talks to a server.

    The function gets a `Session` first. Its options are those it declares, `more` (which it gets as one dict named
    `given`) and those of the connection.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [each for each in list(_parameters(function))[1:] if each.name != "given"]
        shared = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for option, (annotation, default) in _OPTIONS.items()
        ]

        def command(**values: Any) -> None:
            output = values.pop("output")
            address = choose_address(*(values.pop(option) for option in ("url", "api_key", "profile")))
            if more:
                given = {each.name: values.pop(each.name) for each in more}
                values["given"] = {key: value for key, value in given.items() if value not in (None, [], ())}
            session = Session(address, output)
            try:
                function(session, **values)
            finally:
                if "api" in vars(session):
                    session.api.close()

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *more, *shared)]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        app.command(name)(command)
        return function

    return decorate


def choose_address(
    url: str | None, api_key: str | None, profile: str | None, environment: Mapping[str, str] = os.environ
) -> Address:
    """Options before a profile that is named, before the environment, before the profile in use, before the default.

    An address and a key of one profile go together: its key is sent to no other address.
    """
    try:
        if url is not None:
            return find_address(url, api_key, environment)
        named = profile or environment.get(PROFILE_VARIABLE)
        if named is None and url_in(environment) is not None:
            return find_address(None, api_key, environment)
        store = profile_store.load()
        found = store.find(named)
        if found is None:
            return find_address(None, api_key, environment)
        return Address(plain_url(found.url), api_key or found.api_key or environment.get(KEY_VARIABLE))
    except ValueError as error:
        raise CliError(str(error), ExitCode.USAGE) from None


def _parameters(function: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())
