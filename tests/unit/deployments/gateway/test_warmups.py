from __future__ import annotations

import time
from typing import Any

import pytest

from catalog.errors import StoreUnavailable
from catalog.replicas import StartStep, VariantState
from catalog.warmups import MAX_KEEP_WARM_S, Warmup
from tests.unit.builders import CHAT, CHAT_ALIAS, PIRATE, status
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

CPU, H100 = f"{CHAT}@CPU", f"{CHAT}@H100:4"


def warmup(**changes: Any) -> Warmup:
    fields: dict[str, Any] = {
        "id": "warmup-1", "model": CHAT, "variants": (CPU, H100), "keep_warm_s": 60.0, "created_s": time.time(),
    }  # fmt: skip
    return Warmup(**{**fields, **changes})


async def begin(gateway: GatewayUnderTest, answer: Warmup, **body: Any) -> Any:
    gateway.manager.answers["warm_up"] = answer
    gateway.manager.publish(warmups=[answer])
    return await gateway.post("/v1/warmup", json={"model": CHAT, **body})


async def test_a_warmup_is_accepted_and_says_how_far_it_is(gateway: GatewayUnderTest) -> None:
    starting = status(VariantState.STARTING, CPU, step=StartStep.LOADING, expected_start_s=20.0)
    await gateway.publish(variants=[starting], warmups=[warmup()])
    gateway.manager.answers["warm_up"] = warmup()
    reply = await gateway.post("/v1/warmup", json={"model": CHAT_ALIAS, "keep_warm_s": 60})
    assert reply.status_code == 202
    assert gateway.manager.calls == [("warm_up", CHAT, (CPU, H100), 60.0, False, False)]
    for body in (reply.json(), (await gateway.get("/v1/warmup/warmup-1")).json()):
        assert (body["id"], body["model"], body["state"], body["step"]) == ("warmup-1", CHAT, "starting", "loading")
        assert 15 < body["expected_s"] <= 20
    assert (await gateway.get("/v1/warmup")).json()["data"][0]["id"] == "warmup-1"


async def test_one_that_is_ready_says_until_when_it_is_kept(gateway: GatewayUnderTest) -> None:
    now_s = time.time()
    reply = await begin(gateway, warmup(variant=H100, created_s=now_s - 5, ready_s=now_s), wait=True)
    body = reply.json()
    assert (reply.status_code, body["state"], body["gpu"], body["took_s"]) == (200, "ready", "H100:4", 5.0)
    assert body["keep_warm_until"] == int(now_s + 60)


async def test_one_that_failed_while_the_caller_waited_is_an_error(gateway: GatewayUnderTest) -> None:
    reply = await begin(gateway, warmup(error="the weights are cursed", ended_s=1.0), wait=True)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_failed")
    assert "cursed" in reply.json()["error"]["message"]


@pytest.mark.parametrize("how", ["header", "body"])
async def test_a_preference_chooses_the_variant(gateway: GatewayUnderTest, how: str) -> None:
    gateway.manager.answers["warm_up"] = warmup()
    gateway.manager.publish(warmups=[warmup()])
    headers = {"x-gpu-preference": "H100:4"} if how == "header" else None
    body = {"model": CHAT} if how == "header" else {"model": CHAT, "gpu_preference": ["H100:4"]}
    await gateway.post("/v1/warmup", json=body, headers=headers)
    assert gateway.manager.calls[0][2] == (H100,)


@pytest.mark.parametrize(
    ("wish", "variants", "in_order"),
    [(["H100:4", "CPU"], (H100, CPU), True), ("H100:4", (H100,), True), ("auto", (CPU, H100), False)],
)
async def test_a_list_is_tried_in_its_order_and_auto_chooses(
    gateway: GatewayUnderTest, wish: Any, variants: tuple[str, ...], in_order: bool
) -> None:
    gateway.manager.answers["warm_up"] = warmup()
    gateway.manager.publish(warmups=[warmup()])
    await gateway.post("/v1/warmup", json={"model": CHAT, "gpu_preference": wish})
    assert (gateway.manager.calls[0][2], gateway.manager.calls[0][-1]) == (variants, in_order)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_request", "model"),
        ({"model": 3}, "invalid_request", "model"),
        ({"model": "Demo-Chat"}, "model_not_found", "model"),
        ({"model": CHAT, "keep_warm_s": -1}, "invalid_request", "keep_warm_s"),
        ({"model": CHAT, "keep_warm_s": MAX_KEEP_WARM_S + 1}, "invalid_request", "keep_warm_s"),
        ({"model": CHAT, "keep_warm_s": "60"}, "invalid_request", "keep_warm_s"),
        ({"model": CHAT, "wait": 1}, "invalid_request", "wait"),
        ({"model": CHAT, "colour": 1}, "invalid_request", "colour"),
        ({"model": CHAT, "gpu_preference": "h100"}, "invalid_gpu_preference", "gpu_preference"),
        ({"model": CHAT, "gpu_preference": "TPU"}, "invalid_gpu_preference", "gpu_preference"),
        ({"model": CHAT, "gpu_preference": "H100:0"}, "invalid_gpu_preference", "gpu_preference"),
        ({"model": CHAT, "gpu_preference": ["CPU"] * 100}, "invalid_gpu_preference", "gpu_preference"),
        ({"model": CHAT, "gpu_preference": "H100:3"}, "gpu_not_supported_for_model", "gpu_preference"),
    ],
)
async def test_a_wrong_wish_is_refused_and_starts_nothing(
    gateway: GatewayUnderTest, body: dict[str, Any], code: str, param: str
) -> None:
    error = (await gateway.post("/v1/warmup", json=body)).json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert gateway.manager.calls == []


async def test_an_adapter_can_be_warmed_up(gateway: GatewayUnderTest) -> None:
    gateway.manager.answers["warm_up"] = warmup(model=PIRATE)
    gateway.manager.publish(warmups=[warmup(model=PIRATE)])
    assert (await gateway.post("/v1/warmup", json={"model": PIRATE})).status_code == 202


async def test_an_unknown_warmup_is_not_found(gateway: GatewayUnderTest) -> None:
    for method in ("GET", "DELETE"):
        reply = await gateway.request(method, "/v1/warmup/nobody")
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "warmup_not_found")


async def test_one_can_be_ended(gateway: GatewayUnderTest) -> None:
    await gateway.publish(warmups=[warmup()])
    gateway.manager.answers["end_warmup"] = warmup(ended_s=1.0)
    assert (await gateway.request("DELETE", "/v1/warmup/warmup-1")).json()["state"] == "ended"


async def test_a_full_disk_is_told_and_nothing_is_promised(gateway: GatewayUnderTest) -> None:
    gateway.manager.refusal = StoreUnavailable("could not be stored")
    reply = await gateway.post("/v1/warmup", json={"model": CHAT})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")
