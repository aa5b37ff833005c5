"""One server with two gateways and emulated engines for all faults, and the table at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter

from tests.faults.report import Report
from tests.server import PROJECT, RunningServer

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
def server() -> Iterator[RunningServer]:
    with RunningServer(CONFIG) as running:
        yield running
