"""`raymux status` and `raymux gpus`: how everything fares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from raymux.cli.connection import Session, connected
from raymux.cli.output import print_json, print_table


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    connected(app, "status")(status)
    connected(app, "gpus")(gpus)


def status(session: Session) -> None:
    """Every model on every shape of GPU: state, replicas, requests, the last start and the last error."""
    reply = session.api.get("/v1/status")
    if session.is_json:
        print_json(reply)
        return
    columns = ("MODEL", "GPU", "STATE", "REPLICAS", "RUNNING", "WAITING", "QUEUED", "LAST START", "LAST ERROR")
    print_table(columns, map(_variant, reply["variants"]), "There are no models that run here.")


def gpus(session: Session) -> None:
    """Types of GPU: how many the cluster has, has free and may add, and which models run on which shape."""
    reply = session.api.get("/v1/gpus")
    if session.is_json:
        print_json(reply)
        return
    rows = [
        (each["type"], f"{each['total']:g}", f"{each['free']:g}", f"{each['addable']:g}", _shapes(each["shapes"]))
        for each in reply["data"]
    ]
    print_table(("TYPE", "TOTAL", "FREE", "ADDABLE", "MODELS"), rows, "The server knows of no GPUs.")


def _variant(variant: Mapping[str, Any]) -> tuple[object, ...]:
    state = variant["state"]
    if variant.get("step"):
        state = f"{state} ({variant['step'].replace('_', ' ')})"
    start = variant.get("last_cold_start")
    return (
        variant["model"],
        variant["variant"],
        state,
        len(variant["replicas"]),
        variant.get("num_running", 0),
        variant.get("num_waiting", 0),
        variant["num_queued"],
        f"{start['total_s']:.1f} s" if start else None,
        variant.get("last_error"),
    )


def _shapes(shapes: list[Mapping[str, Any]]) -> str:
    return "; ".join(f"{each['shape']}: {', '.join(each['models'])}" for each in shapes)
