"""`raymux models`: what there is, and what is done to one model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from raymux.cli.connection import Session, connected
from raymux.cli.errors import CliError, ExitCode
from raymux.cli.gpus import Gpu, preference
from raymux.cli.output import Waiting, print_json, print_table
from raymux.client import bodies
from raymux.client.cold_start import in_warmup

app = typer.Typer(help="The models, adapters and checkpoints, and what is done to them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A model's name or alias, as `raymux models list` shows it.")]
_FIELDS = ("kind", "parent", "state", "ready", "tasks", "gpu_variants", "aliases", "owned_by")
_BODIES = {
    "/v1/chat/completions": '"messages": [{"role": "user", "content": "What is 2+2?"}]',
    "/v1/embeddings": '"input": ["one text", "another"]',
    "/v1/rerank": '"query": "capital of France", "documents": ["Bananas are yellow.", "Paris is in France."]',
}


@connected(app, "list")
def list_models(session: Session) -> None:
    """Every model: those of the configuration, those added at run time, and those of outside providers."""
    reply = session.api.get("/v1/models")
    if session.is_json:
        print_json(reply)
        return
    rows = [
        (
            each["id"],
            each["kind"],
            each["state"],
            _words(each["tasks"]),
            _words(each["gpu_variants"]),
            _words(each["aliases"]),
        )
        for each in reply["data"]
    ]
    print_table(("MODEL", "KIND", "STATE", "TASKS", "GPUS", "ALIASES"), rows, "There are no models.")


@connected(app, "get")
def get_model(session: Session, model: Name) -> None:
    """One model: its state, where it is called and how."""
    found = session.api.get(_path(model))
    if session.is_json:
        print_json(found)
        return
    rows: list[tuple[str, object]] = [("model", found["id"])]
    rows += [(name, _words(found[name])) for name in _FIELDS if found.get(name) not in (None, [])]
    rows.append(("url", f"{session.address.url}{found['endpoint']}"))
    for name, value in rows:
        print(f"{name:<14}{value}")
    print(f"\n{_example(session, found)}")


@connected(app, "add")
def add(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(help="peft:<base>:<job>, rl:<base>:<job>:<checkpoint> or <base>.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where its files are on the server.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="YAML with the fields of its entry, as the configuration would have them.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Of a checkpoint: `full` weights or an `adapter`.")] = None,
    auto_promote: Annotated[
        bool | None, typer.Option(help="Whether the first request promotes a checkpoint.", show_default=False)
    ] = None,
) -> None:
    """Register a model, an adapter or a checkpoint while the server runs. It survives restarts."""
    entry = _entry(file) if file is not None else {}
    given = {"name": name, "source": source, "kind": kind, "auto_promote": auto_promote}
    entry |= {key: value for key, value in given.items() if value is not None}
    if "name" not in entry:
        raise CliError("name it: `raymux models add NAME --source FOLDER`, or `--file ENTRY.yaml`.", ExitCode.USAGE)
    added = session.api.post("/v1/models", entry)
    session.show(added, f"{added['id']} is registered.")


@connected(app, "remove")
def remove(session: Session, model: Name) -> None:
    """Remove a model that was registered while the server ran."""
    removed = session.api.delete(_path(model))
    session.show(removed, f"{removed['id']} is removed.")


@connected(app, "promote")
def promote(session: Session, model: Name) -> None:
    """Load an RL checkpoint ahead of its first request."""
    session.order(_path(model, "promote"), "is promoted; `raymux models get` says when it is ready.")


@connected(app, "start")
def start(session: Session, model: Name) -> None:
    """Start a model, also one that was stopped."""
    session.order(_path(model, "start"), "is starting.")


@connected(app, "stop")
def stop(
    session: Session,
    model: Name,
    drain: Annotated[bool, typer.Option("--drain", help="Let requests that run be finished first.")] = False,
) -> None:
    """Stop a model; it stays so until `raymux models start`."""
    query = {"drain": "true"} if drain else {}
    session.order(_path(model, "stop"), "is stopping; `raymux models start` lets it answer again.", **query)


@connected(app, "warmup")
def warmup(
    session: Session,
    model: Name,
    gpu: Gpu = None,
    keep_warm: Annotated[float, typer.Option(min=0, help="Seconds it is kept ready, whatever the traffic.")] = 0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return before it is ready.")] = False,
) -> None:
    """Have a model ready before it is needed, and wait until it is."""
    begun_s = time.monotonic()
    found = session.api.post("/v1/warmup", {**bodies.warmup_body(model, None, keep_warm), **preference(gpu)})
    with Waiting() as waiting:
        while found["state"] == "starting" and not no_wait:
            waiting.report(in_warmup(found, time.monotonic() - begun_s))
            time.sleep(bodies.WARMUP_LOOK_EVERY_S)
            found = session.api.get(f"/v1/warmup/{found['id']}")
    if found["state"] == "failed":
        raise CliError(f"{found['model']} could not start: {found['error']}")
    if session.is_json:
        print_json(found)
        return
    # One that keeps nothing has ended as soon as its model is ready.
    state = "ready" if found["state"] == "ended" else found["state"]
    kept = f", kept so for {found['keep_warm_s']:g} s" if found["keep_warm_s"] else ""
    print(f"{found['model']} is {state} on {found['gpu']}{kept} (warm-up {found['id']}).")


def _path(model: str, verb: str = "") -> str:
    return f"/v1{bodies.model_path(model, verb)}"


def _entry(file: Path) -> dict[str, Any]:
    import yaml

    try:
        entry = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise CliError(f"{file} cannot be read.", ExitCode.USAGE) from None
    except yaml.YAMLError:
        raise CliError(f"{file} is not YAML.", ExitCode.USAGE) from None
    if not isinstance(entry, dict):
        raise CliError(f"{file} must hold the fields of one model.", ExitCode.USAGE)
    return entry


def _example(session: Session, model: dict[str, Any]) -> str:
    """How to call a model, ready to be copied."""
    key = """ -H "Authorization: Bearer $RAYMUX_API_KEY\"""" if session.address.api_key else ""
    body = f'{{"model": "{model["id"]}", {_BODIES[model["endpoint"]]}}}'
    url = f"{session.address.url}{model['endpoint']}"
    lines = [f"curl {url}{key} -H 'Content-Type: application/json' -d '{body}'"]
    if model["endpoint"] == "/v1/chat/completions":
        lines.append(f"raymux inference chat --model {model['id']} --message 'What is 2+2?'")
    return "\n".join(lines)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
