"""Talking to the shared server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.server import RunningServer


@pytest.fixture(scope="session")
def http(engine_server: RunningServer) -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with engine_server.client() as opened:
        yield opened
