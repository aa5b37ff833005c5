"""Rate limits over HTTP: who is counted, what the headers say, and what a request really used."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.settings import GatewaySettings
from deployments.gateway.exchange import Reply
from deployments.wire import Usage
from router.keys import Keyring
from tests.unit.builders import report, settle
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_guard import ADMIN, USER, headers, key


@pytest.fixture
async def limited(gateway: GatewayUnderTest) -> GatewayUnderTest:
    """One key with limits of its own, and one with the gateway's."""
    gateway.keyring = Keyring(
        [
            key("user", USER, limits={"requests_per_minute": 3, "tokens_per_minute": 1000}),
            key("admin", ADMIN, admin=True),
        ]
    )
    await gateway.publish(report("r1"))
    return gateway


def usage(prompt: int, completion: int) -> Any:
    async def answer(reply: Reply) -> None:
        reply.exchange.usage = Usage(prompt, completion)
        await reply.whole(200, {})

    return answer


async def chat(gateway: GatewayUnderTest, secret: str = USER, **body: Any) -> Any:
    return await gateway.chat(headers(secret), max_tokens=100, **body)


async def test_over_the_limit_a_caller_gets_a_429_that_says_when_to_come_back(limited: GatewayUnderTest) -> None:
    replies = [await chat(limited) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0", "0"]
    refused = replies[-1]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert len(limited.relay.calls) == 3


async def test_a_minute_later_it_may_ask_again(limited: GatewayUnderTest) -> None:
    for _ in range(4):
        last = await chat(limited)
    limited.now_s += int(last.headers["retry-after"]) + 1
    assert (await chat(limited)).status_code == 200


async def test_keys_and_endpoints_are_counted_apart(limited: GatewayUnderTest) -> None:
    for _ in range(4):
        last = await chat(limited)
    assert last.status_code == 429
    assert (await chat(limited, ADMIN)).status_code == 200
    assert (await limited.get("/v1/models", headers=headers(USER))).status_code == 200


async def test_the_path_without_v1_is_the_same_endpoint(limited: GatewayUnderTest) -> None:
    body = {"model": "demo-chat"}
    for path in ("/v1/chat/completions", "/chat/completions", "/v1/chat/completions"):
        assert (await limited.post(path, json=body, headers=headers(USER))).status_code == 200
    assert (await limited.post("/chat/completions", json=body, headers=headers(USER))).status_code == 429


async def test_tokens_are_reserved_and_then_corrected(limited: GatewayUnderTest) -> None:
    limited.relay.script = [usage(10, 20), usage(10, 20)]
    first = await chat(limited)
    reserved = 1000 - int(first.headers["x-ratelimit-remaining-tokens"])
    assert reserved > 100
    await settle()
    second = await chat(limited)
    assert 1000 - int(second.headers["x-ratelimit-remaining-tokens"]) == 30 + reserved


async def test_a_request_that_no_engine_worked_on_costs_no_tokens(limited: GatewayUnderTest) -> None:
    limited.relay.script = [RuntimeError("broken")]
    assert (await chat(limited)).status_code == 500
    await settle()
    last = await chat(limited)
    assert int(last.headers["x-ratelimit-remaining-tokens"]) > 1000 - 200


async def test_other_endpoints_are_counted_too(limited: GatewayUnderTest) -> None:
    statuses = [(await limited.get("/v1/models", headers=headers(USER))).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert (await limited.get("/health")).status_code == 200


async def test_without_keys_nothing_is_limited_unless_it_was_asked_for(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"))
    replies = [await gateway.chat() for _ in range(700)]
    assert {reply.status_code for reply in replies} == {200}
    assert "x-ratelimit-limit-requests" not in replies[0].headers
    gateway.settings = GatewaySettings.model_validate({"limits": {"requests_per_minute": 2}})
    assert [(await gateway.chat()).status_code for _ in range(3)] == [200, 200, 429]
