"""Access to routes: denied by default, on every one of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.keys import Access, ApiKeySettings
from deployments.gateway.guard import GuardedRoute
from router.keys import Keyring, hash_key
from tests.unit.builders import CHAT, EMBEDDER, PIRATE, report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

USER, ADMIN, LIMITED = "rmx-user-key-012345", "rmx-admin-key-012345", "rmx-limited-key-012345"


def key(id_: str, secret: str, **fields: object) -> ApiKeySettings:
    return ApiKeySettings.model_validate({"id": id_, "sha256": hash_key(secret), **fields})


def headers(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.fixture
async def guarded(gateway: GatewayUnderTest) -> GatewayUnderTest:
    gateway.keyring = Keyring(
        [key("user", USER), key("admin", ADMIN, admin=True), key("limited", LIMITED, models=[CHAT])]
    )
    await gateway.publish(report("r1"))
    return gateway


def routes(gateway: GatewayUnderTest) -> Iterator[tuple[str, str, Access]]:
    """Every route of the app: method, a path, and the access it asks for."""
    for route in gateway.routes():
        assert isinstance(route, GuardedRoute), f"{route} can be called by anybody"
        for method in sorted(route.methods or ()):
            if method != "HEAD":
                yield method, route.path.replace("{id:path}", CHAT).replace("{id}", "some-id"), route.access


async def test_every_route_but_the_public_ones_asks_for_a_key(guarded: GatewayUnderTest) -> None:
    public = set()
    for method, path, access in routes(guarded):
        status = (await guarded.request(method, path, json={})).status_code
        if access is Access.PUBLIC:
            public.add(f"{method} {path}")
        if access in (Access.KEY, Access.ADMIN):
            assert status == 401, (method, path)
    assert public == {
        "GET /", "GET /health", "POST /health", "GET /v1/health", "POST /v1/health", "GET /ready", "GET /v1/ready",
        "GET /openapi.json", "GET /dashboard", "GET /dashboard/{name}",
    }  # fmt: skip


async def test_what_changes_something_for_others_asks_for_an_admin_key(guarded: GatewayUnderTest) -> None:
    admin = set()
    for method, path, access in routes(guarded):
        if access is Access.ADMIN:
            reply = await guarded.request(method, path, json={}, headers=headers(USER))
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied"), (method, path)
            admin.add(f"{method} {path}")
    assert {
        "POST /v1/models", f"DELETE /v1/models/{CHAT}", f"POST /v1/models/{CHAT}/promote", "POST /v1/warmup",
        f"POST /v1/models/{CHAT}/start", f"POST /v1/models/{CHAT}/stop", "DELETE /v1/warmup/some-id",
    } <= admin  # fmt: skip


async def test_a_key_opens_inference_and_is_named_in_the_exchange(guarded: GatewayUnderTest) -> None:
    reply = await guarded.chat(headers(USER))
    assert reply.status_code == 200
    assert guarded.relay.calls[0].exchange.caller.key_id == "user"
    assert (await guarded.chat({"x-api-key": USER})).status_code == 200


async def test_a_refused_caller_s_body_is_not_read(guarded: GatewayUnderTest) -> None:
    reply = await guarded.post("/v1/chat/completions", content=b"x" * 1_000_000)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_limited_key_uses_and_sees_its_models_only(guarded: GatewayUnderTest) -> None:
    mine = headers(LIMITED)
    assert (await guarded.chat(mine)).status_code == 200
    for name in (PIRATE, EMBEDDER, "no-such-model"):
        reply = await guarded.chat(mine, model=name)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")
        assert (await guarded.get(f"/v1/models/{name}", headers=mine)).status_code == 403
    listed = (await guarded.get("/v1/models", headers=mine)).json()["data"]
    assert [model["id"] for model in listed] == [CHAT]
    status = (await guarded.get("/v1/status", headers=mine)).json()["variants"]
    assert {variant["model"] for variant in status} == {CHAT}


async def test_a_default_model_is_no_way_around_the_key(guarded: GatewayUnderTest) -> None:
    assert (await guarded.post("/v1/embeddings", json={"input": "a"}, headers=headers(LIMITED))).status_code == 403


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 200),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, 200),
        ({"host": "127.0.0.1:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"host": "127.0.0.1:8000", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1:8000", "origin": "null"}, 403),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:3000"}, 403),
        ({"host": "127.0.0.1:8000", "sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "evil.example", "sec-fetch-site": "same-origin"}, 403),
        ({"host": "[::1", "origin": "http://[::1"}, 403),
    ],
)
async def test_without_keys_a_page_of_another_site_is_kept_out(
    gateway: GatewayUnderTest, sent: dict[str, str], status: int
) -> None:
    await gateway.publish(report("r1"))
    assert (await gateway.chat(sent)).status_code == status
