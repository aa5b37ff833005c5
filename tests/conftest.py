"""Fixtures that several folders of tests share, and what the report of a failed test shows."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.server import RunningServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plain", action="store_true", help="run the servers with Serve's own proxy instead of HAProxy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about HAProxy itself where there is none."""
    if config.getoption("plain"):
        for item in items:
            if item.get_closest_marker("haproxy") is not None:
                item.add_marker(pytest.mark.skip(reason="about HAProxy, which --plain does without"))


@pytest.fixture(scope="session", autouse=True)
def path_of_requests(request: pytest.FixtureRequest) -> None:
    """Servers of this session are the ones that `--plain` asks for."""
    if request.config.getoption("plain"):
        from tests.server import RunningServer

        RunningServer.common_arguments = ("--plain",)


@pytest.fixture(scope="session")
def engine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """serve_config.yaml on real vLLM, with its chat model and its embedder warm; one for the whole session."""
    # Imported here, so that the unit tests need none of it.
    from tests import engine_server as shared

    folder = tmp_path_factory.mktemp("odd-models")
    with shared.engine_server(folder) as server:
        shared.remove_vanished(folder)
        shared.warm_up(server)
        yield server


@pytest.fixture(scope="session")
def http(engine_server: RunningServer) -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with engine_server.client() as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Not imported where no test has: the unit tests need none of it.
    servers = sys.modules.get("tests.server")
    if report.failed and servers is not None:
        for server in servers.RunningServer.running:
            report.sections.append((f"the server at {server.url}", server.account()))
    return report
