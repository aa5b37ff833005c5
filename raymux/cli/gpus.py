"""The option `--gpu` of every command that has something run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Gpu = Annotated[
    list[str] | None, typer.Option("--gpu", help="A GPU shape such as L40S:2, or several in order of preference.")
]


def preference(gpu: list[str] | None) -> dict[str, Any]:
    """The field of a request's body that says it; none where nothing is preferred."""
    if not gpu:
        return {}
    return {"gpu_preference": gpu[0] if len(gpu) == 1 else gpu}
