"""`raymux keys`: API keys for those who run a server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raymux.cli import server_parts
from raymux.cli.connection import Output, OutputOption
from raymux.cli.output import print_json

app = typer.Typer(help="API keys of a server.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("create")
def create(
    id: Annotated[
        str | None, typer.Option(help="What logs and limits call the key; by default `key-` and some of its hash.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose key it is.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may use, or a beginning of names such as `peft:demo-chat:*`.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may also change what is served.")] = False,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests to each endpoint in a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens of each endpoint in a minute.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher is served first when a model is full.")] = None,
    weight: Annotated[float | None, typer.Option(help="The tenant's share among equals.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an API key. It is printed once and kept nowhere; the configuration gets its hash."""
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute}
    limits = {name: value for name, value in limits.items() if value is not None}
    fields: dict[str, Any] = {
        "id": id, "tenant": tenant, "models": model or None, "admin": admin or None, "limits": limits or None,
        "priority": priority, "weight": weight,
    }  # fmt: skip
    key, entry = server_parts.new_key(**{name: value for name, value in fields.items() if value is not None})
    if output is Output.JSON:
        print_json({"key": key, "entry": entry})
        return
    import yaml

    snippet = yaml.safe_dump({"keys": [entry]}, sort_keys=False, default_flow_style=False)
    print(
        f"{key}\n\nThe key is shown this once. In the gateway's user_config of serve_config.yaml:\n\n{snippet}", end=""
    )
