from __future__ import annotations

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from catalog.errors import InvalidRequest
from catalog.replicas import ColdStart, StartStep, VariantState
from deployments.gateway.app import build_gateway_app
from tests.unit.builders import CHAT, EMBEDDER, catalog_settings, report, settle, status
from tests.unit.deployments.gateway.conftest import GatewayUnderTest


@pytest.fixture
async def waiting() -> AsyncIterator[httpx.AsyncClient]:
    """A gateway whose manager has not answered yet."""
    gateway = GatewayUnderTest()
    gateway.fleet._watching.cancel()
    await settle()
    app = build_gateway_app(gateway.services)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client
    await gateway.close()


async def test_the_index_lists_endpoints_that_exist(gateway: GatewayUnderTest) -> None:
    index = (await gateway.get("/")).json()
    assert index["name"] == "raymux"
    gateway.manager.refusal = InvalidRequest("not now")
    for entry in index["endpoints"]:
        method, _, path = entry.partition(" ")
        reply = await gateway.request(
            method, path.replace("{id}", CHAT), json={"model": "nobody"} if "v1" in path else None
        )
        assert reply.status_code not in (405, 500)
        assert reply.status_code != 404 or reply.json()["error"]["code"] in ("model_not_found", "warmup_not_found")


async def test_health_needs_nothing(gateway: GatewayUnderTest, waiting: httpx.AsyncClient) -> None:
    for path in ("/health", "/v1/health"):
        assert (await gateway.get(path)).json() == {"status": "ok"}
        assert (await gateway.post(path)).status_code == 200
    assert (await waiting.get("/health")).status_code == 200


async def test_a_gateway_is_ready_once_it_has_its_catalog(
    gateway: GatewayUnderTest, waiting: httpx.AsyncClient
) -> None:
    assert (await gateway.get("/ready")).json()["status"] == "ready"
    reply = await waiting.get("/ready")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "gateway_not_ready")
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/status", f"/v1/models/{CHAT}"])
async def test_before_the_catalog_comes_a_caller_is_told_to_come_back(waiting: httpx.AsyncClient, path: str) -> None:
    reply = await waiting.get(path)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def test_the_status_tells_no_secret_and_no_address(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1", secret="the-replica-secret", address="10.1.2.3:4567"))
    for path in ("/v1/status", "/v1/models", f"/v1/models/{CHAT}", "/ready", "/"):
        text = (await gateway.get(path)).text
        assert "the-replica-secret" not in text
        assert "10.1.2.3" not in text
        assert "4567" not in text


async def test_a_report_hides_its_secret_in_logs_too() -> None:
    assert "the-replica-secret" not in repr(report(secret="the-replica-secret"))


async def test_every_variant_has_its_status(gateway: GatewayUnderTest) -> None:
    now_s = time.time()
    cold_start = ColdStart(at_s=1.0, total_s=9.5, steps_s={StartStep.LOADING: 8.0})
    starting = status(
        VariantState.STARTING, step=StartStep.LOADING, since_s=now_s - 3, expected_start_s=9.5, last_start=cold_start,
        last_error="out of memory", retry_at_s=now_s - 1,
    )  # fmt: skip
    await gateway.publish(
        report("r1", running=2, waiting=1, adapters=("a",), node="node-a"), report("r2", running=3), variants=[starting]
    )
    variants = {
        (entry["model"], entry["variant"]): entry for entry in (await gateway.get("/v1/status")).json()["variants"]
    }
    assert set(variants) >= {(CHAT, "CPU"), (CHAT, "H100:4"), (EMBEDDER, "CPU")}
    entry = variants[CHAT, "CPU"]
    assert (entry["state"], entry["step"], entry["expected_start_s"]) == ("starting", "loading", 9.5)
    assert (entry["num_running"], entry["num_waiting"], entry["last_error"], entry["retry_in_s"]) == (
        5,
        1,
        "out of memory",
        0.0,
    )
    assert entry["last_cold_start"] == {"at_s": 1.0, "total_s": 9.5, "steps_s": {"loading": 8.0}}
    assert entry["replicas"][0]["adapters"] == ["a"]
    assert variants[CHAT, "H100:4"]["state"] == "cold"


async def test_a_variant_at_rest_shows_its_time_and_each_change(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=lambda: 100.0)
    monkeypatch.setattr("deployments.gateway.status.time", clock)

    async def entry() -> dict[str, Any]:
        variants = (await gateway.get("/v1/status")).json()["variants"]
        return next(each for each in variants if each["model"] == EMBEDDER)

    key = f"{EMBEDDER}@CPU"
    await gateway.publish(variants=[status(VariantState.COLD, key, since_s=90.0)])
    first = await entry()
    assert (first["state"], first["since_s"], first["num_starts"]) == ("cold", 10.0, 0)
    clock.time = lambda: 112.25
    assert await entry() == {**first, "since_s": 22.2}
    gateway.manager.publish_news([], [status(VariantState.COLD, key, since_s=110.0, num_starts=1)])
    await settle()
    assert await entry() == {**first, "since_s": 2.2, "num_starts": 1}
    gateway.manager.publish_news(
        [report("r1", variant=key, running=4)], [status(VariantState.READY, key, since_s=112.0)]
    )
    await settle()
    changed = await entry()
    assert (changed["state"], changed["num_running"], len(changed["replicas"])) == ("ready", 4, 1)
    assert changed.keys() == first.keys()
    gateway.manager.configure(catalog_settings(adapters=[]))
    await gateway.publish(variants=[status(VariantState.STOPPED, key, since_s=112.0)])
    assert (await entry())["state"] == "stopped"


async def test_requests_that_wait_are_shown_although_the_variant_rests(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.publish(variants=[status(VariantState.COLD)])
    assert (await gateway.get("/v1/status")).json()["variants"][0]["num_queued"] == 0
    monkeypatch.setattr(type(gateway.services.admission), "num_queued", {CHAT: 3})
    assert (await gateway.get("/v1/status")).json()["variants"][0]["num_queued"] == 3


async def test_the_next_try_is_due_only_when_its_time_has_come(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.gateway.status.time", SimpleNamespace(time=lambda: 100.0))
    for retry_at_s, shown in ((100.01, 0.1), (100.0, 0.0), (99.0, 0.0), (102.0, 2.0)):
        await gateway.publish(variants=[status(VariantState.FAILED, retry_at_s=retry_at_s)])
        (entry, *_) = (await gateway.get("/v1/status")).json()["variants"]
        assert entry["retry_in_s"] == shown
