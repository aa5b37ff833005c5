"""Bad input over HTTP: every refusal has its status, its code, the one shape, and tells nothing it should not."""

from __future__ import annotations

import json

import httpx
import pytest

from router.endpoints import ENDPOINTS
from tests.unit.builders import CHAT, Client, report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest, chat_scope

CHAT_PATH = "/v1/chat/completions"


@pytest.fixture(autouse=True)
async def _warm(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"))


def refusal(reply: httpx.Response) -> tuple[int, str]:
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["message"]
    assert "Traceback" not in error["message"]
    assert reply.headers["content-type"] == "application/json"
    return reply.status_code, error["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"[]", b"null", b"5", b'"x"', b"{", b"{} trailing", b'{"a": NaN}', b'{"a": Infinity}',
        b'{"a": 1e999}', b'{"a": 1, "a": 2}', b'{"model": "\xff"}', b"[" * 9_000, b'{"a":' * 1_900,
        b'{"n": ' + b"9" * 5_000 + b"}", b'{"n": -1}', b'{"n": 0}', b'{"n": 1000000}', b'{"n": true}', b'{"n": 1.5}',
        b'{"max_tokens": -1}', b'{"max_tokens": true}', b'{"max_tokens": 99999999999}', b'{"stream": "yes"}',
        b'{"stream": 1}', b'{"model": 5}', b'{"model": ""}', b'{"model": ["demo-chat"]}', b'{"best_of": 1000}',
        b'{"gpu_preference": {}}',
    ],
)  # fmt: skip
async def test_a_malformed_body_is_a_400_and_reaches_no_replica(gateway: GatewayUnderTest, body: bytes) -> None:
    status, code = refusal(await gateway.post(CHAT_PATH, content=body))
    assert (status, code) in {(400, "invalid_request"), (400, "invalid_gpu_preference")}
    assert gateway.relay.calls == []


async def test_a_body_that_says_it_is_too_large_is_a_413(gateway: GatewayUnderTest) -> None:
    assert refusal(await gateway.post(CHAT_PATH, content=b"x" * 10_001)) == (413, "payload_too_large")


async def test_a_body_that_only_proves_too_large_is_a_413(gateway: GatewayUnderTest) -> None:
    sent = await gateway.call(chat_scope(transfer_encoding="chunked"), Client(*[b"x" * 1_000] * 100))
    assert sent.status == 413
    assert gateway.relay.calls == []


async def test_another_content_type_is_a_415(gateway: GatewayUnderTest) -> None:
    reply = await gateway.post(CHAT_PATH, content=b"{}", headers={"content-type": "text/plain"})
    assert refusal(reply) == (415, "unsupported_media_type")


@pytest.mark.parametrize("name", ["Demo-Chat", "demo", "demo-chat-2", "DEMO-CHAT"])
async def test_an_unknown_model_is_a_404_with_suggestions(gateway: GatewayUnderTest, name: str) -> None:
    reply = await gateway.chat(model=name)
    assert refusal(reply) == (404, "model_not_found")
    assert CHAT in reply.json()["error"]["message"]
    assert reply.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    "name", ["peft:demo-chat:../../../etc/passwd", "../demo-chat", "/etc/passwd", "\ud800", "x" * 9_000, "demo-chat\0"]
)
async def test_a_hostile_name_is_a_404_that_does_not_echo_it(gateway: GatewayUnderTest, name: str) -> None:
    reply = await gateway.post(CHAT_PATH, content=json.dumps({"model": name}))
    assert refusal(reply) == (404, "model_not_found")
    assert "etc/passwd" not in reply.text
    assert len(reply.text) < 500
    assert gateway.relay.calls == []


async def test_a_model_that_cannot_do_the_task_is_a_400(gateway: GatewayUnderTest) -> None:
    reply = await gateway.post("/v1/embeddings", json={"model": CHAT})
    assert refusal(reply) == (400, "invalid_request")
    assert "embedder" in reply.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions/", "/v2/models"])
async def test_an_unknown_path_is_a_404(gateway: GatewayUnderTest, path: str) -> None:
    assert refusal(await gateway.get(path)) == (404, "not_found")


@pytest.mark.parametrize("path", [endpoint.path for endpoint in ENDPOINTS])
async def test_an_inference_endpoint_takes_posts_only(gateway: GatewayUnderTest, path: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        reply = await gateway.request(method, path)
        assert refusal(reply) == (405, "method_not_allowed")
        assert "POST" in reply.json()["error"]["message"]


async def test_every_reply_names_its_request(gateway: GatewayUnderTest) -> None:
    for path in ("/health", "/nowhere", "/v1/models"):
        reply = await gateway.get(path, headers={"x-request-id": "req-7"})
        assert reply.headers["x-request-id"] == "req-7"
