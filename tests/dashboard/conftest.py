"""One server with emulated engines, on GPUs that Ray only believes in, and one browser."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.dashboard.browser import Dashboard, chromium, window
from tests.server import PROJECT, RunningServer

ADMIN_KEY, USER_KEY = "rmx-admin-of-the-dashboard", "rmx-user-of-the-dashboard"
ENVIRONMENT = {
    "RAYMUX_ADMIN_KEYS": ADMIN_KEY,
    "RAYMUX_API_KEYS": f"acme:{USER_KEY}",
    "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 16, "GPU": 8, "accelerator_type:H100": 1}),
}


@pytest.fixture(scope="package")
def server() -> Iterator[RunningServer]:
    """It asks for keys. `assistant-4b` is warm, the other models are cold."""
    with RunningServer(PROJECT / "tests/configs/dashboard.yaml", environment=ENVIRONMENT) as running:
        running.headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        with running.client() as client:
            warm = {"model": "assistant-4b", "keep_warm_s": 3600, "wait": True}
            client.post("/v1/warmup", json=warm).raise_for_status()
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def dashboard(browser: Browser, server: RunningServer) -> Iterator[Dashboard]:
    """The page, not yet opened. It must complain of nothing."""
    with window(browser, server.url) as opened:
        yield opened
        assert opened.complaints == []
