"""What a gateway does with the configurations that it is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from catalog.loading import ConfigError
from deployments.gateway import gateway as gateway_module
from deployments.gateway.gateway import Gateway
from tests.unit.builders import FakeManager


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(gateway_module, "serve_host", lambda: "127.0.0.1")
    monkeypatch.setattr(gateway_module, "grace_s", lambda: None)
    monkeypatch.delenv("RAYMUX_API_KEYS", raising=False)
    monkeypatch.delenv("RAYMUX_ADMIN_KEYS", raising=False)
    # Without what Serve wraps around it; Serve awaits the constructor.
    deployment: Any = Gateway
    plain = deployment.func_or_class.__mro__[1]
    gateway = object.__new__(plain)
    await plain.__init__(gateway, FakeManager())
    yield gateway
    gateway._fleet._watching.cancel()
    for task in gateway._background:
        task.cancel()
    await gateway._relay.close()


async def test_a_gateway_does_not_start_with_a_configuration_that_is_no_good(gateway: Any) -> None:
    with pytest.raises(ConfigError):
        await gateway.reconfigure({"max_body_bytes": "much"})


@pytest.mark.parametrize("bad", [{"max_body_bytes": "much"}, {"redis": {"url_env": "NOT_SET"}}, {"unknown": 1}])
async def test_a_later_configuration_that_is_no_good_leaves_the_one_before(
    gateway: Any, bad: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    await gateway.reconfigure({"max_body_bytes": 5000})
    with caplog.at_level(logging.ERROR, "ray.serve"):
        await gateway.reconfigure(bad)
    assert gateway._settings.max_body_bytes == 5000
    assert "the one before stays" in caplog.text
    await gateway.reconfigure({"max_body_bytes": 6000})
    assert gateway._settings.max_body_bytes == 6000


async def test_without_keys_a_gateway_does_not_serve_strangers(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "serve_host", lambda: "0.0.0.0")
    with pytest.raises(ConfigError, match="RAYMUX_API_KEYS"):
        await gateway.reconfigure({})
    await gateway.reconfigure({"allow_unauthenticated": True})
    await asyncio.sleep(0)
    assert gateway._settings.allow_unauthenticated
