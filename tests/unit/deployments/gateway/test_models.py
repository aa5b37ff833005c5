from __future__ import annotations

import urllib.parse

import pytest

from catalog.errors import InvalidRequest
from catalog.keys import ApiKeySettings
from catalog.replicas import VariantState
from router.keys import Keyring, hash_key
from tests.unit.builders import (
    CHAT,
    CHAT_ALIAS,
    CHECKPOINT,
    EMBEDDER,
    HELD_CHECKPOINT,
    PIRATE,
    catalog_settings,
    report,
    settle,
    status,
)
from tests.unit.deployments.gateway.conftest import GatewayUnderTest


async def test_every_model_is_listed_cold_or_warm(gateway: GatewayUnderTest) -> None:
    await gateway.publish(variants=[status(VariantState.READY, f"{EMBEDDER}@CPU")])
    for path in ("/v1/models", "/models"):
        listed = (await gateway.get(path)).json()
        assert listed["object"] == "list"
        assert {model["id"]: model["state"] for model in listed["data"]} == {
            CHAT: "cold", EMBEDDER: "ready", PIRATE: "cold", CHECKPOINT: "cold", HELD_CHECKPOINT: "cold",
        }  # fmt: skip


async def test_the_list_follows_each_change_of_a_state_and_of_the_catalog(gateway: GatewayUnderTest) -> None:
    async def states() -> dict[str, str]:
        listed = (await gateway.get("/v1/models")).json()["data"]
        return {model["id"]: model["state"] for model in listed if model["id"] in (EMBEDDER, PIRATE)}

    key = f"{EMBEDDER}@CPU"
    await gateway.publish(variants=[status(VariantState.COLD, key)])
    assert await states() == {EMBEDDER: "cold", PIRATE: "cold"}
    for state in (VariantState.STARTING, VariantState.READY, VariantState.DRAINING):
        gateway.manager.publish_news([], [status(state, key)])
        await settle()
        assert (await states())[EMBEDDER] == state
    # Nothing that the list shows.
    gateway.manager.publish_news([report("r1", variant=key)], [status(VariantState.DRAINING, key, num_starts=7)])
    await settle()
    assert (await states())[EMBEDDER] == "draining"
    gateway.manager.configure(catalog_settings(adapters=[]))
    await gateway.publish()
    assert await states() == {EMBEDDER: "cold"}


async def test_callers_with_other_models_get_lists_of_their_own(gateway: GatewayUnderTest) -> None:
    keys = {name: f"rmx-key-of-somebody-{name}" for name in (CHAT, EMBEDDER)}
    gateway.keyring = Keyring(
        [
            ApiKeySettings(id=f"key-{number}", sha256=hash_key(secret), models=(name,))
            for number, (name, secret) in enumerate(keys.items())
        ]
    )
    for _ in range(2):
        for name, secret in keys.items():
            reply = await gateway.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
            assert [model["id"] for model in reply.json()["data"]] == [name]


async def test_a_model_has_openais_fields_and_ours(gateway: GatewayUnderTest) -> None:
    assert (await gateway.get(f"/v1/models/{CHAT}")).json() == {
        "id": CHAT, "object": "model", "created": 0, "owned_by": "raymux", "kind": "base", "parent": None,
        "aliases": [CHAT_ALIAS], "tasks": ["generate"], "state": "cold", "ready": False,
        "endpoint": "/v1/chat/completions", "gpu_variants": ["CPU", "H100:4"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", [CHAT, CHAT_ALIAS, PIRATE, f"peft:{CHAT_ALIAS}:job_pirate", CHECKPOINT, "rl:demo-chat:job_demo"]
)
@pytest.mark.parametrize("prefix", ["/v1/models/", "/models/"])
async def test_an_id_is_found_raw_and_percent_encoded(gateway: GatewayUnderTest, name: str, prefix: str) -> None:
    raw = (await gateway.get(prefix + name)).json()["id"]
    encoded = (await gateway.get(prefix + urllib.parse.quote(name, safe=""))).json()["id"]
    assert raw == encoded
    assert name in (raw, CHAT_ALIAS, f"peft:{CHAT_ALIAS}:job_pirate", "rl:demo-chat:job_demo")


@pytest.mark.parametrize(("name", "meant"), [("Demo-Chat", CHAT), ("demo", CHAT), ("peft:demo-chat:job_pirat", PIRATE)])
async def test_a_near_miss_is_not_found_and_gets_a_suggestion(gateway: GatewayUnderTest, name: str, meant: str) -> None:
    reply = await gateway.get(f"/v1/models/{name}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert meant in reply.json()["error"]["message"]


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "peft:demo-chat:..%2f..%2fx", "%00", "%ff", "a" * 10_000])
async def test_a_hostile_id_is_only_not_found(gateway: GatewayUnderTest, name: str) -> None:
    reply = await gateway.get(f"/v1/models/{name}")
    assert reply.status_code == 404
    assert "passwd" not in reply.text


async def test_the_best_state_of_the_variants_is_the_models(gateway: GatewayUnderTest) -> None:
    await gateway.publish(variants=[status(VariantState.FAILED), status(VariantState.STARTING, f"{CHAT}@H100:4")])
    model = (await gateway.get(f"/v1/models/{CHAT}")).json()
    assert (model["state"], model["ready"]) == ("starting", False)


@pytest.mark.parametrize("verb", ["start", "stop", "promote"])
async def test_a_verb_reaches_the_manager_with_the_canonical_name(gateway: GatewayUnderTest, verb: str) -> None:
    reply = await gateway.post(f"/v1/models/{CHAT_ALIAS}/{verb}")
    assert (reply.status_code, reply.json()["id"]) == (202, CHAT)
    assert [call[:2] for call in gateway.manager.calls] == [(verb, CHAT)]


async def test_a_refused_verb_is_answered_with_the_managers_reason(gateway: GatewayUnderTest) -> None:
    gateway.manager.refusal = InvalidRequest("it is an adapter; stop that model instead", param="model")
    reply = await gateway.post(f"/v1/models/{PIRATE}/stop")
    assert reply.status_code == 400
    assert "stop that model instead" in reply.json()["error"]["message"]


async def test_an_unknown_model_never_reaches_the_manager(gateway: GatewayUnderTest) -> None:
    assert (await gateway.post("/v1/models/nobody/start")).status_code == 404
    assert gateway.manager.calls == []


async def test_a_registered_model_is_there_when_its_reply_is(gateway: GatewayUnderTest) -> None:
    gateway.manager.answers["register"] = PIRATE
    fields = {"name": PIRATE, "source": "models/x"}
    reply = await gateway.post("/v1/models", json=fields)
    assert (reply.status_code, reply.json()["id"]) == (201, PIRATE)
    assert gateway.manager.calls == [("register", fields)]


@pytest.mark.parametrize("body", ["", "[]", "null", '{"name": 1, "name": 2}', '{"name": NaN}', "{" * 100])
async def test_a_body_that_is_no_object_registers_nothing(gateway: GatewayUnderTest, body: str) -> None:
    reply = await gateway.post("/v1/models", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
    assert gateway.manager.calls == []


async def test_a_body_that_is_too_large_registers_nothing(gateway: GatewayUnderTest) -> None:
    reply = await gateway.post("/v1/models", json={"name": "x" * 300_000})
    assert reply.status_code == 413


async def test_deleting_an_unknown_model_is_not_found(gateway: GatewayUnderTest) -> None:
    assert (await gateway.request("DELETE", "/v1/models/nobody")).status_code == 404
    assert gateway.manager.calls == []


async def test_stop_drains_only_where_it_is_asked_to(gateway: GatewayUnderTest) -> None:
    await gateway.post(f"/v1/models/{CHAT}/stop")
    await gateway.post(f"/v1/models/{CHAT}/stop?drain=true")
    assert gateway.manager.calls == [("stop", CHAT, False), ("stop", CHAT, True)]
