"""Idempotency-Key: one answer for one key, whatever happens in between."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from catalog.errors import ContextLengthExceeded, ModelLoading, UpstreamError
from deployments.gateway.exchange import EVENT_STREAM, Reply
from deployments.gateway.replies.idempotency import KEPT_S, LEASE_S
from router.keys import Keyring
from tests.unit.builders import Client, report, until
from tests.unit.deployments.gateway.conftest import GatewayUnderTest, chat_scope
from tests.unit.deployments.gateway.test_guard import ADMIN, USER, headers, key


@pytest.fixture
async def warm(gateway: GatewayUnderTest) -> GatewayUnderTest:
    count = 0

    async def counted(reply: Reply) -> None:
        nonlocal count
        count += 1
        await reply.whole(200, {"answer": count})

    await gateway.publish(report("r1"))
    gateway.relay.script = [counted] * 20
    return gateway


async def send(
    gateway: GatewayUnderTest, name: str = "key-1", sent: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return await gateway.chat({"idempotency-key": name, **(sent or {})}, **fields)


def code(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


async def test_the_same_request_gets_the_stored_answer(warm: GatewayUnderTest) -> None:
    first, second = [await send(warm) for _ in range(2)]
    assert first.json() == second.json() == {"answer": 1}
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == first.headers["content-type"]
    assert len(warm.relay.calls) == 1


async def test_another_key_is_another_request(warm: GatewayUnderTest) -> None:
    assert (await send(warm, "key-1")).json() != (await send(warm, "key-2")).json()


async def test_another_body_is_a_422(warm: GatewayUnderTest) -> None:
    await send(warm)
    assert code(await send(warm, max_tokens=5)) == (422, "idempotency_key_reused")


async def test_while_the_first_one_runs_the_second_is_a_409(warm: GatewayUnderTest) -> None:
    answer = asyncio.Event()

    async def slow(reply: Reply) -> None:
        await answer.wait()
        await reply.whole(200, {"answer": "slow"})

    warm.relay.script = [slow]
    first = asyncio.create_task(send(warm))
    await until(lambda: warm.relay.calls)
    second = await send(warm)
    assert code(second) == (409, "request_in_progress")
    assert int(second.headers["retry-after"]) >= 1
    answer.set()
    assert (await first).json() == {"answer": "slow"}
    assert (await send(warm)).json() == {"answer": "slow"}


async def test_a_stream_is_replayed(warm: GatewayUnderTest) -> None:
    async def stream(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: 1\n\n")
        await reply.write(b"data: [DONE]\n\n")
        await reply.end()

    warm.relay.script = [stream]
    first, second = [await send(warm, stream=True) for _ in range(2)]
    assert first.content == second.content
    assert second.headers["content-type"].startswith("text/event-stream")


async def test_an_error_of_the_request_is_replayed_and_one_of_the_server_is_not(warm: GatewayUnderTest) -> None:
    script = list(warm.relay.script)
    warm.relay.script = [ContextLengthExceeded("too long"), *script]
    assert [code(await send(warm)) for _ in range(2)] == [(400, "context_length_exceeded")] * 2
    for error in (UpstreamError("broken"), ModelLoading("later", retry_after_s=1)):
        warm.relay.script = [error, *script]
        assert (await send(warm, "key-2")).status_code == error.status
    assert (await send(warm, "key-2")).status_code == 200


async def test_a_broken_stream_is_not_replayed(warm: GatewayUnderTest) -> None:
    async def broken(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: 1\n\n")
        raise UpstreamError("gone")

    warm.relay.script = [broken, *warm.relay.script]
    assert '"error"' in (await send(warm, stream=True)).text
    assert (await send(warm, stream=True)).json() == {"answer": 1}


async def test_a_client_that_left_may_send_again_at_once(warm: GatewayUnderTest) -> None:
    async def hang(reply: Reply) -> None:
        await asyncio.Event().wait()

    warm.relay.script = [hang, *warm.relay.script]
    client = Client(b'{"model":"demo-chat"}')
    first = asyncio.create_task(warm.call(chat_scope(idempotency_key="key-1"), client))
    await until(lambda: warm.relay.calls)
    client.leave()
    await first
    assert (await send(warm)).json() == {"answer": 1}


async def test_a_gateway_that_died_with_a_request_blocks_its_key_for_a_while_only(warm: GatewayUnderTest) -> None:
    async def hang(reply: Reply) -> None:
        await asyncio.Event().wait()

    script = list(warm.relay.script)
    warm.relay.script = [hang]
    dying = asyncio.create_task(send(warm))
    await until(lambda: warm.relay.calls)
    warm.relay.script = script
    assert (await send(warm)).status_code == 409
    warm.now_s += LEASE_S
    assert (await send(warm)).status_code == 200
    dying.cancel()


async def test_answers_are_forgotten_after_a_day(warm: GatewayUnderTest) -> None:
    await send(warm)
    warm.now_s += KEPT_S
    assert (await send(warm)).json() == {"answer": 2}


async def test_keys_of_different_callers_do_not_meet(warm: GatewayUnderTest) -> None:
    warm.keyring = Keyring([key("user", USER, tenant="one"), key("admin", ADMIN, tenant="two")])
    answers = [(await send(warm, sent=headers(secret))).json() for secret in (USER, ADMIN, USER)]
    assert answers == [{"answer": 1}, {"answer": 2}, {"answer": 1}]


@pytest.mark.parametrize("name", ["", "x" * 256, "tab\there", "caf\u00e9"])
async def test_a_key_that_is_none_is_a_400(warm: GatewayUnderTest, name: str) -> None:
    scope = chat_scope()
    scope["headers"].append((b"idempotency-key", name.encode("latin-1")))
    sent = await warm.call(scope, Client(b'{"model":"demo-chat"}'))
    assert sent.status == 400
    assert warm.relay.calls == []
