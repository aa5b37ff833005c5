"""One server with emulated engines for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from router.keys import hash_key
from tests.integration.calls import ADMIN_KEY, FEW_KEY, RECEIVER_SECRET, USER_KEY, WEBHOOK_SECRET
from tests.redis_server import RedisServer
from tests.server import PROJECT, RunningServer, user_config
from tests.webhook_receiver import WebhookReceiver

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
def receiver() -> Iterator[WebhookReceiver]:
    """Is told of every model."""
    with WebhookReceiver(RECEIVER_SECRET) as running:
        yield running


@pytest.fixture(scope="package")
def hung_receiver() -> Iterator[WebhookReceiver]:
    """Should be told as well, but never answers."""
    with WebhookReceiver(RECEIVER_SECRET) as running:
        running.hangs = True
        yield running


@pytest.fixture(scope="package")
def server(
    redis_server: RedisServer, receiver: WebhookReceiver, hung_receiver: WebhookReceiver
) -> Iterator[RunningServer]:
    """It asks for keys, keeps things in Redis and tells receivers; `calls.CLIENT` has the admin key."""

    def changed(document: dict) -> None:
        prepared(document)
        manager = user_config(document, "ModelManager")
        manager["store_redis"] = {}
        manager["webhooks"] = [
            {"url": each.url, "secret_env": "RECEIVER_SECRET", "allow_private": True}
            for each in (hung_receiver, receiver)
        ]

    environment = {
        "RAYMUX_ADMIN_KEYS": ADMIN_KEY,
        "RAYMUX_API_KEYS": f"acme:{USER_KEY}",
        "RAYMUX_REDIS_URL": redis_server.url,
        "RAYMUX_WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "RECEIVER_SECRET": RECEIVER_SECRET,
    }
    with RunningServer(EMULATED, changed, environment=environment) as running:
        running.headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        yield running
