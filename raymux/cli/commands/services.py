"""`raymux service`: models as services, for those who know them so."""

from __future__ import annotations

from typing import Annotated

import typer

from raymux.cli.connection import Session, connected
from raymux.cli.output import print_json, print_table
from raymux.client import bodies

app = typer.Typer(help="Models as services: each with a status and its replicas.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The service, which has its model's name.")]


@connected(app, "list")
def list_services(session: Session) -> None:
    """Every service: its model, status and number of replicas."""
    reply = session.api.get("/api/services")
    if session.is_json:
        print_json(reply)
        return
    rows = [(each["id"], each["model"], each["status"], each["replicas"]) for each in reply["services"]]
    print_table(("SERVICE", "MODEL", "STATUS", "REPLICAS"), rows, "There are no services.")


@connected(app, "start")
def start(session: Session, service: Id) -> None:
    """Start a service."""
    session.order(_path(service, "start"), "is starting.")


@connected(app, "stop")
def stop(session: Session, service: Id) -> None:
    """Stop a service until it is started by hand."""
    session.order(_path(service, "stop"), "is stopping.")


def _path(service: str, verb: str) -> str:
    return f"/api{bodies.model_path(service, verb).replace('/models/', '/services/', 1)}"
