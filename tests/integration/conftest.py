"""One server with emulated engines for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import PROJECT, RunningServer

EMULATED = PROJECT / "tests" / "configs" / "emulated.yaml"


def drop_unloadable(document: dict) -> None:
    """`make serve` refuses sources that are not there, so the adapter without files is registered later."""
    from tests.server import user_config

    manager = user_config(document, "ModelManager")
    manager["adapters"] = [entry for entry in manager["adapters"] if not entry["name"].endswith(":missing")]


@pytest.fixture(scope="package")
def server() -> Iterator[RunningServer]:
    with RunningServer(EMULATED, drop_unloadable) as running:
        yield running
