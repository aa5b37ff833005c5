"""Webhooks over HTTP: only what was signed is taken, by either scheme, and nothing is told to who guesses."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from catalog.errors import StoreUnavailable
from deployments.manager.entries import Outcome
from deployments.manager.inbox import InboxEntry
from deployments.manager.outbox import OutboxEntry
from router.keys import Keyring
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_guard import ADMIN, USER, headers, key

SECRET, NEWER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a plain secret of a sender"
EVENT = {"type": "model.promote", "data": {"model": "rl:demo-chat:job_demo:checkpoint-1"}}


@pytest.fixture
async def signed(gateway: GatewayUnderTest) -> GatewayUnderTest:
    gateway.webhook_secrets = [NEWER, SECRET]
    gateway.manager.answers["ingest"] = True
    return gateway


def standard(body: bytes, secret: str = SECRET, id: str = "msg-1", ago: timedelta = timedelta()) -> dict[str, str]:
    at = datetime.now(tz=UTC) - ago
    signature = Webhook(secret if secret.startswith("whsec_") else secret.encode()).sign(id, at, body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def older(body: bytes, secret: str = NEWER) -> dict[str, str]:
    return {"x-signature": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


async def post(
    gateway: GatewayUnderTest, body: bytes, sent: dict[str, str], path: str = "/webhooks/ingest"
) -> httpx.Response:
    return await gateway.post(path, content=body, headers={"content-type": "application/json", **sent})


BODY = json.dumps(EVENT).encode()


@pytest.mark.parametrize("path", ["/webhooks/ingest", "/v1/webhooks/ingest"])
@pytest.mark.parametrize("secret", [SECRET, NEWER])
async def test_what_a_secret_signed_is_taken(signed: GatewayUnderTest, path: str, secret: str) -> None:
    reply = await post(signed, BODY, standard(BODY, secret), path)
    assert (reply.status_code, reply.json()) == (202, {"id": "msg-1", "status": "accepted"})
    (verb, id, event) = signed.manager.calls[0]
    assert (verb, id, event.type, event.data) == ("ingest", "msg-1", EVENT["type"], EVENT["data"])


async def test_one_of_several_signatures_is_enough(signed: GatewayUnderTest) -> None:
    sent = standard(BODY)
    sent["webhook-signature"] = f"v1,{'A' * 44} v2,x {sent['webhook-signature']}"
    assert (await post(signed, BODY, sent)).status_code == 202


async def test_older_senders_are_known_by_the_body(signed: GatewayUnderTest) -> None:
    ids = [(await post(signed, body, older(body))).json()["id"] for body in (BODY, BODY, BODY + b" ")]
    assert ids[0] == ids[1] != ids[2]


async def test_a_second_delivery_is_told_as_such(signed: GatewayUnderTest) -> None:
    signed.manager.answers["ingest"] = False
    reply = await post(signed, BODY, standard(BODY))
    assert (reply.status_code, reply.json()["status"]) == (202, "duplicate")


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"x-signature": ""},
        {"x-signature": "sha256="},
        {"x-signature": "sha256=" + "0" * 64},
        {"x-signature": "sha1=" + "0" * 40},
        older(BODY, "another secret"),
        older(BODY + b" "),
        standard(BODY, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        standard(BODY + b" "),
        standard(BODY, ago=timedelta(minutes=6)),
        standard(BODY, ago=timedelta(hours=-1)),
        {**standard(BODY), "webhook-id": "msg-2"},
        {**standard(BODY), "webhook-timestamp": "soon"},
        {**standard(BODY), "webhook-signature": "garbage"},
        {**standard(BODY), "webhook-signature": "v1,!!!"},
        {**older(BODY), "webhook-signature": "v1,x"},
    ],
)  # fmt: skip
async def test_anything_else_is_refused_and_reaches_nobody(signed: GatewayUnderTest, sent: dict[str, str]) -> None:
    reply = await post(signed, BODY, sent)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_signature")
    assert signed.manager.calls == []


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"not json", b'{"type": "model.promote", "data": {}}', b'{"a": 1, "a": 2}']
)
async def test_a_signed_event_that_is_none_is_a_400(signed: GatewayUnderTest, body: bytes) -> None:
    assert (await post(signed, body, standard(body))).status_code == 400
    assert signed.manager.calls == []


async def test_a_body_that_is_too_large_is_not_read(signed: GatewayUnderTest) -> None:
    assert (await post(signed, b"x" * 300_000, {})).status_code == 413


async def test_without_a_secret_there_are_no_webhooks(gateway: GatewayUnderTest) -> None:
    reply = await post(gateway, BODY, standard(BODY))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")


async def test_a_full_disk_is_told_so_that_the_sender_comes_again(signed: GatewayUnderTest) -> None:
    signed.manager.refusal = StoreUnavailable("full")
    assert (await post(signed, BODY, standard(BODY))).status_code == 503


async def test_a_webhook_needs_no_api_key_and_the_list_of_them_an_admin_s(signed: GatewayUnderTest) -> None:
    signed.keyring = Keyring([key("user", USER), key("admin", ADMIN, admin=True)])
    assert (await post(signed, BODY, standard(BODY))).status_code == 202
    assert (await signed.get("/v1/webhooks", headers=headers(USER))).status_code == 403
    assert (await signed.get("/v1/webhooks/sent", headers=headers(USER))).status_code == 403
    signed.manager.answers["events"] = []
    listed: Any = (await signed.get("/v1/webhooks", headers=headers(ADMIN))).json()
    assert listed == {"object": "list", "data": []}


async def test_what_became_of_events_in_and_out_is_listed(gateway: GatewayUnderTest) -> None:
    taken = InboxEntry(id="e1", type="model.promote", verb="promote", data={"model": "a secret"}, received_s=7.5)
    sent = OutboxEntry(
        id="msg_1", type="model.ready", receiver="https://example.com/", body="{}", received_s=8.5,
        outcome=Outcome.FAILED, num_attempts=3, error="timeout",
    )  # fmt: skip
    gateway.manager.answers["events"] = [taken]
    (listed,) = (await gateway.get("/v1/webhooks")).json()["data"]
    state = {"outcome": "pending", "attempts": 0, "error": None}
    assert listed == {"id": "e1", "type": "model.promote", "received": 7, **state}
    gateway.manager.answers["events"] = [sent]
    (listed,) = (await gateway.get("/v1/webhooks/sent")).json()["data"]
    state = {"outcome": "failed", "attempts": 3, "error": "timeout"}
    assert listed == {"id": "msg_1", "type": "model.ready", "receiver": "https://example.com/", "created": 8, **state}
