"""One server with emulated engines for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from router.keys import hash_key
from tests.integration.calls import ADMIN_KEY, FEW_KEY, USER_KEY, WEBHOOK_SECRET
from tests.redis_server import RedisServer
from tests.server import PROJECT, RunningServer, user_config

EMULATED = PROJECT / "tests" / "configs" / "emulated.yaml"


def prepared(document: dict) -> None:
    """The configuration with keys and Redis."""
    gateway = user_config(document, "Gateway")
    gateway["limits"] = {"requests_per_minute": None}
    gateway["redis"] = {}
    gateway["keys"] = [
        {
            "id": "few",
            "sha256": hash_key(FEW_KEY),
            "models": ["fast", "peft:fast:*"],
            "limits": {"requests_per_minute": 3},
        }
    ]


@pytest.fixture(scope="package")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="package")
def server(redis_server: RedisServer) -> Iterator[RunningServer]:
    """It asks for keys, and shares limits in Redis; `calls.CLIENT` has the admin key."""
    environment = {
        "RAYMUX_ADMIN_KEYS": ADMIN_KEY,
        "RAYMUX_API_KEYS": f"acme:{USER_KEY}",
        "RAYMUX_REDIS_URL": redis_server.url,
        "RAYMUX_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    }
    with RunningServer(EMULATED, prepared, environment=environment) as running:
        running.headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        yield running
