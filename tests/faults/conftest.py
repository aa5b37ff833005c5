"""One server with two gateways and emulated engines for all faults, and the table at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from tests.faults.provider import KEY_VARIABLE, FaultyProvider
from tests.faults.report import Report
from tests.server import PROJECT, RunningServer, user_config

CONFIG = PROJECT / "tests" / "configs" / "faults.yaml"
_REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Takes a row for each fault."""
    return pytestconfig.stash.setdefault(_REPORT, Report())


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_REPORT, None)
    if found is not None and found.rows:
        terminalreporter.section("faults")
        for line in found.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="package")
def provider() -> Iterator[FaultyProvider]:
    with FaultyProvider() as running:
        yield running


@pytest.fixture(scope="package")
def server(provider: FaultyProvider) -> Iterator[RunningServer]:
    def prepared(document: dict[str, Any]) -> None:
        user_config(document, "ModelManager")["providers"] = provider.settings(fallback="one")

    with RunningServer(CONFIG, prepared, environment={KEY_VARIABLE: "key-of-the-provider"}) as running:
        yield running
