"""The older interfaces over HTTP: the same path, limits, errors and logs as the standard ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from catalog.errors import ContextLengthExceeded, UpstreamError
from deployments.gateway.exchange import EVENT_STREAM, Reply
from router.keys import Keyring
from tests.unit.builders import CHAT, EMBEDDER, report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_guard import ADMIN, USER, headers, key
from tests.unit.router.test_older import CHAT_REPLY


def says(body: Any) -> Any:
    async def answer(reply: Reply) -> None:
        content = json.dumps(body).encode()
        await reply.begin(200, b"application/json", len(content))
        await reply.end(content)

    return answer


@pytest.fixture
async def warm(gateway: GatewayUnderTest) -> GatewayUnderTest:
    await gateway.publish(report("r1"), report("e1", variant=f"{EMBEDDER}@CPU"))
    gateway.relay.script = [says(CHAT_REPLY)]
    return gateway


def sent(gateway: GatewayUnderTest) -> dict[str, Any]:
    return json.loads(gateway.relay.calls[-1].body)


@pytest.mark.parametrize("path", ["/v1/infer", "/infer"])
async def test_infer_answers_in_its_own_form(warm: GatewayUnderTest, path: str) -> None:
    reply = await warm.post(path, json={"model": CHAT, "prompt": "2+2?", "params": {"max_new_tokens": 5}})
    assert reply.status_code == 200
    assert set(reply.json()) == {"id", "model", "output", "usage", "latency_ms", "cached"}
    assert reply.json()["output"] == "4"
    assert reply.headers["content-length"] == str(len(reply.content))
    assert sent(warm) == {"model": CHAT, "max_tokens": 5, "messages": [{"role": "user", "content": "2+2?"}]}
    assert warm.relay.calls[-1].path == "/v1/chat/completions"
    assert reply.headers["x-raymux-model"] == CHAT


async def test_the_default_model_answers_where_none_is_named(warm: GatewayUnderTest) -> None:
    assert (await warm.post("/api/inference/chat", json={"message": "hi"})).json()["response"] == "4"
    assert warm.relay.calls[-1].exchange.model == CHAT


def events(*pieces: bytes) -> Any:
    async def answer(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        for piece in pieces:
            await reply.write(piece)
        await reply.end()

    return answer


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n'


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_stream_is_translated_event_by_event_however_it_is_cut(warm: GatewayUnderTest, size: int) -> None:
    whole = chunk("a") + chunk("b\n\nc") + USAGE + b"data: [DONE]\n\n"
    warm.relay.script = [events(*(whole[at : at + size] for at in range(0, len(whole), size)))]
    reply = await warm.post("/v1/infer/stream", json={"prompt": "x"})
    told = [json.loads(event.removeprefix("data: ")) for event in reply.text.split("\n\n") if event]
    assert told == [{"delta": "a"}, {"delta": "b\n\nc"}, {"done": True, "usage": {"prompt_tokens": 3}}]
    assert reply.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_that_breaks_ends_in_exactly_one_error(warm: GatewayUnderTest) -> None:
    async def breaking(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.write(chunk("a"))
        raise UpstreamError("gone")

    warm.relay.script = [breaking]
    reply = await warm.post("/v1/infer/stream", json={"prompt": "x"})
    assert reply.text.startswith('data: {"delta": "a"}\n\n')
    assert reply.text.count('"error"') == 1
    assert '"done"' not in reply.text


async def test_an_error_after_a_streams_beginning_is_not_kept_for_its_idempotency_key(warm: GatewayUnderTest) -> None:
    async def refusing(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        raise ContextLengthExceeded("too long")

    warm.relay.script = [refusing, events(chunk("a"))]
    sent = {"json": {"prompt": "x"}, "headers": {"idempotency-key": "key-1"}}
    assert '"error"' in (await warm.post("/v1/infer/stream", **sent)).text
    assert '"delta": "a"' in (await warm.post("/v1/infer/stream", **sent)).text


async def test_wrapped_forms(warm: GatewayUnderTest) -> None:
    reply = await warm.post("/chat", json={"request": {"messages": [{"role": "user", "content": "hi"}]}})
    assert reply.json() == {"content": "4"}
    warm.relay.script = [says({"data": [{"embedding": [0.5]}]})]
    reply = await warm.post("/embed", json={"request": {"texts": ["a"]}})
    assert reply.json() == {"embeddings": [[0.5]]}
    assert warm.relay.calls[-1].path == "/v1/embeddings"


async def test_rerank_takes_both_forms_on_one_path(warm: GatewayUnderTest) -> None:
    ranked = {"id": "r", "results": [{"index": 0, "relevance_score": 0.5}]}
    warm.relay.script = [says(ranked), says(ranked)]
    wrapped = {"request": {"model": EMBEDDER, "query": "q", "docs": ["a"]}}
    assert (await warm.post("/rerank", json=wrapped)).json() == {"results": ranked["results"]}
    standard = {"model": EMBEDDER, "query": "q", "documents": ["a"]}
    assert (await warm.post("/rerank", json=standard)).json() == ranked
    assert [json.loads(call.body) for call in warm.relay.calls] == [standard, standard]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/infer", {}), ("/v1/infer/stream", {"prompt": 5}), ("/api/inference/chat", {"message": ""}),
        ("/embed", {"texts": ["a"]}), ("/chat", {"request": 5}), ("/rerank", {"request": {}}),
        ("/rerank", {"request": 1}),
        ("/v1/infer", {"prompt": "a", "params": {"n": 1000}}),
    ],
)  # fmt: skip
async def test_bad_input_is_a_400_and_reaches_no_replica(warm: GatewayUnderTest, path: str, body: Any) -> None:
    reply = await warm.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_request")
    assert warm.relay.calls == []


async def test_an_engine_s_error_keeps_the_one_shape(warm: GatewayUnderTest) -> None:
    warm.relay.script = [UpstreamError("broken"), says("no object")]
    replies = [await warm.post("/v1/infer", json={"prompt": "x"}) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [502, 502]
    assert [reply.json()["error"]["code"] for reply in replies] == ["upstream_error", "empty_response"]


async def test_services_are_listed_started_and_stopped(warm: GatewayUnderTest) -> None:
    services = (await warm.get("/api/services")).json()["services"]
    assert {"id": CHAT, "model": CHAT, "status": "cold", "replicas": 1} in services
    assert not any(service["id"].startswith("peft:") for service in services)
    for verb in ("start", "stop"):
        assert (await warm.post(f"/api/services/{CHAT}/{verb}")).status_code == 202
    assert [call[0] for call in warm.manager.calls] == ["start", "stop"]
    assert (await warm.post("/api/services/nobody/start")).status_code == 404


async def test_keys_count_for_them_too(warm: GatewayUnderTest) -> None:
    warm.keyring = Keyring([key("user", USER, limits={"requests_per_minute": 2}), key("admin", ADMIN, admin=True)])
    assert (await warm.post("/v1/infer", json={"prompt": "x"})).status_code == 401
    warm.relay.script = [says(CHAT_REPLY)] * 3
    codes = [(await warm.post("/v1/infer", json={"prompt": "x"}, headers=headers(USER))).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    assert (await warm.post(f"/api/services/{CHAT}/stop", headers=headers(USER))).status_code == 403
