"""One server with two gateways and emulated engines for all faults, and the table at the end of the run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from tests.faults.provider import KEY_VARIABLE, FaultyProvider
from tests.faults.report import Report
from tests.integration.calls import ADMIN_KEY, USER_KEY
from tests.redis_server import RedisServer
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
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="package")
def small_disk() -> Iterator[Path | None]:
    """A disk of 4 MiB; None where this user may mount none."""
    folder = Path(tempfile.mkdtemp(prefix="raymux-disk-"))
    is_mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
    try:
        yield folder if is_mounted.returncode == 0 else None
    finally:
        if is_mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        folder.rmdir()


@pytest.fixture(scope="package")
def server(provider: FaultyProvider, redis_server: RedisServer, small_disk: Path | None) -> Iterator[RunningServer]:
    """It asks for keys, and shares limits and cached answers in Redis."""

    def prepared(document: dict[str, Any]) -> None:
        catalog = user_config(document, "ModelManager")
        catalog["providers"] = provider.settings(fallback="one")
        catalog["runtime_sources"] = ["models"]
        if small_disk is not None:
            catalog["store"] = str(small_disk / "raymux.db")

    environment = {
        KEY_VARIABLE: "key-of-the-provider",
        "RAYMUX_ADMIN_KEYS": ADMIN_KEY,
        "RAYMUX_API_KEYS": f"acme:{USER_KEY}",
        "RAYMUX_REDIS_URL": redis_server.url,
    }
    with RunningServer(CONFIG, prepared, environment=environment) as running:
        running.headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        yield running
