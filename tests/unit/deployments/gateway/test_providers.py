"""Outside providers: a real HTTP server that misbehaves in every way, and the official clients in front."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx
import openai
import pytest
import uvicorn
from aiohttp import web

from autoscaling.cluster import Cluster
from catalog.errors import ModelFailed
from catalog.providers import ProviderSettings
from deployments.environment import provider_key
from deployments.gateway import provider_client
from router.keys import Keyring
from tests.unit.builders import CHAT, Client, catalog_dict, catalog_settings, report, settle, until
from tests.unit.deployments.gateway.conftest import GatewayUnderTest, chat_scope
from tests.unit.deployments.gateway.test_guard import LIMITED, headers, key

GPT, CLAUDE, EMBED = "openai/gpt", "anthropic/claude", "openai/embed"
HI = [{"role": "user", "content": "hi"}]
SECRET = "sk-provider-secret"

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


def sse(*bodies: Any) -> bytes:
    """Events of OpenAI's form; a string stands for itself."""
    return b"".join(
        f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode() for body in bodies
    )  # fmt: skip


def named(*bodies: dict[str, Any]) -> bytes:
    return b"".join(f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode() for body in bodies)


def chunk(delta: dict[str, Any] | None, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-upstream"}
    return {**head, "choices": choices, **fields}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CHUNKS = (chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"))
STREAM = sse(*CHUNKS)
STREAM_USAGE = sse(chunk(None, usage=USAGE))
DONE = sse("[DONE]")
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-upstream",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "claude-upstream",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 3},
}
MESSAGE_EVENTS = named(
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
)


def whole(body: Any, status: int = 200, **extra: str) -> Script:
    async def script(request: web.Request) -> web.StreamResponse:
        head = {name.replace("_", "-"): value for name, value in extra.items()}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=raw, status=status, headers={"content-type": "application/json", **head})

    return script


def stream(*pieces: bytes, breaks: bool = False, hangs: bool = False) -> Script:
    """Send these; then end, break the connection, or fall silent."""

    async def script(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "set-cookie": "a=b", "x-theirs": "1"}
        )
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if breaks:
            assert request.transport is not None
            await settle()
            request.transport.abort()
        if hangs:
            await asyncio.Event().wait()
        return response

    return script


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


class Provider:
    """The provider: answers with its scripts, in order, then again with the last one."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.has_been_left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        sent = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, sent, await request.json()))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            return await script(request)
        except asyncio.CancelledError:
            self.has_been_left.set()
            raise

    @property
    def body(self) -> dict[str, Any]:
        return self.requests[-1][2]


@asynccontextmanager
async def serving(provider: Provider) -> AsyncIterator[str]:
    app = web.Application(client_max_size=10**8)
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


@pytest.fixture
async def provider(gateway: GatewayUnderTest) -> AsyncIterator[Provider]:
    provider = Provider()
    async with serving(provider) as url:
        await configure(gateway, url)
        yield provider


async def configure(gateway: GatewayUnderTest, url: str, **changes: Any) -> None:
    models = catalog_dict()["models"]
    gpt = {"name": "gpt", "aliases": ["gpt"], "upstream": "gpt-upstream"}
    embed = {"name": "embed", "tasks": ["embed"]}
    claude = {"name": "claude", "upstream": "claude-upstream", "max_output_tokens": 55}
    entries = [
        {"name": "openai", "base_url": url, "models": [gpt, embed], **changes},
        {"name": "anthropic", "base_url": url, "models": [claude], **changes},
    ]
    gateway.manager.configure(catalog_settings(models=models, providers=entries))
    await gateway.publish(report("r1"))


async def ask(gateway: GatewayUnderTest, model: str = GPT, path: str = "/v1/chat/completions", **fields: Any):
    return await gateway.post(path, json={"model": model, "messages": HI, **fields})


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def error_event(reply: httpx.Response) -> dict[str, Any]:
    """The error that a stream ended with, which must be its only one."""
    found = re.findall(r"^data: (.*\"error\".*)$", reply.text, re.MULTILINE)
    assert len(found) == 1
    assert reply.text.rstrip().endswith(found[0])
    assert "[DONE]" not in reply.text
    return json.loads(found[0])["error"]


# What goes out and what comes back


@pytest.mark.parametrize("name", [GPT, "gpt"])
async def test_a_reply_passes_unchanged(gateway: GatewayUnderTest, provider: Provider, name: str):
    provider.scripts = [whole(COMPLETION, x_theirs="1")]
    reply = await ask(gateway, name, temperature=0.5, gpu_preference="auto")
    assert (reply.status_code, reply.json()) == (200, COMPLETION)
    assert provider.body == {"model": "gpt-upstream", "messages": HI, "temperature": 0.5}
    assert reply.headers["x-raymux-model"] == GPT
    assert "x-theirs" not in reply.headers


async def test_only_the_providers_key_and_no_header_of_the_clients_goes_out(
    gateway: GatewayUnderTest, provider: Provider
):
    provider.scripts = [whole(COMPLETION)]
    mine = {"authorization": "Bearer rmx-mine-0123456789", "cookie": "a=b", "x-forwarded-for": "1", "accept": "x/y"}
    await gateway.post("/v1/chat/completions", json={"model": GPT, "messages": HI}, headers=mine)
    path, sent, _ = provider.requests[0]
    assert path == "/v1/chat/completions"
    assert sent.pop("authorization") == f"Bearer {SECRET}"
    assert set(sent) == {
        "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent",
    }  # fmt: skip
    assert "rmx-mine" not in str(sent)


async def test_a_stream_passes_but_for_the_usage_that_only_raymux_asked_for(
    gateway: GatewayUnderTest, provider: Provider
):
    provider.scripts = [stream(STREAM[:50], STREAM[50:], STREAM_USAGE, DONE)]
    reply = await ask(gateway, stream=True)
    assert reply.content == STREAM + DONE
    assert provider.body["stream_options"] == {"include_usage": True}
    assert {"set-cookie", "x-theirs"}.isdisjoint(reply.headers)
    reply = await ask(gateway, stream=True, stream_options={"include_usage": True})
    assert reply.content == STREAM + STREAM_USAGE + DONE


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_tokens_are_counted(
    gateway: GatewayUnderTest, provider: Provider, model: str, path: str, is_stream: bool
):
    texts = {GPT: STREAM + STREAM_USAGE + DONE, CLAUDE: MESSAGE_EVENTS}
    provider.scripts = [stream(texts[model]) if is_stream else whole({GPT: COMPLETION, CLAUDE: MESSAGE}[model])]
    gateway.keyring = Keyring([key("limited", LIMITED, limits={"tokens_per_minute": 1000})])
    body = {"model": model, "messages": HI, "max_tokens": 50, "stream": is_stream}
    assert (await gateway.post(path, json=body, headers=headers(LIMITED))).status_code == 200
    await settle()
    reply = await gateway.post(path, json=body, headers=headers(LIMITED))
    reserved = -(-len(json.dumps(body, separators=(",", ":"))) // 4) + 50
    assert abs(int(reply.headers["x-ratelimit-remaining-tokens"]) - (1000 - 10 - reserved)) <= 1


async def test_the_usage_of_a_long_reply_is_found(gateway: GatewayUnderTest, provider: Provider):
    raw = json.dumps({"data": ["x" * 300_000], "usage": USAGE}).encode()
    provider.scripts = [whole(raw)]
    reply = await gateway.post("/v1/embeddings", json={"model": EMBED, "input": "hi"})
    assert reply.content == raw
    assert provider.requests[0][0] == "/v1/embeddings"


async def test_anthropics_headers(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [whole(MESSAGE)]
    body = {"model": CLAUDE, "max_tokens": 5, "messages": HI}
    reply = await gateway.post("/v1/messages", json=body, headers={"anthropic-beta": "b", "x-api-key": "mine"})
    assert reply.json() == MESSAGE
    path, sent, _ = provider.requests[0]
    assert (path, sent["x-api-key"], sent["anthropic-beta"]) == ("/v1/messages", "sk-ant-secret", "b")
    assert sent["anthropic-version"] == "2023-06-01"
    assert "authorization" not in sent


async def test_a_chat_with_anthropic_is_translated_with_the_clients_name_of_the_model(
    gateway: GatewayUnderTest, provider: Provider
):
    provider.scripts = [whole(MESSAGE)]
    reply = (await ask(gateway, CLAUDE)).json()
    assert (reply["model"], reply["choices"][0]["message"]["content"]) == (CLAUDE, "Hello")
    assert provider.body["max_tokens"] == 55


# What is refused


@pytest.mark.parametrize(
    ("model", "path"),
    [(GPT, "/v1/tokenize"), (CLAUDE, "/v1/completions"), (CLAUDE, "/v1/responses"), (EMBED, "/v1/rerank"),
     (GPT, "/v1/messages/count_tokens"), (CLAUDE, "/v1/detokenize")],
)  # fmt: skip
async def test_what_a_provider_does_not_do_is_refused(gateway: GatewayUnderTest, provider: Provider, model, path):
    assert code_of(await ask(gateway, model, path)) == (400, "invalid_request")
    assert not provider.requests


async def test_a_gpu_cannot_be_chosen(gateway: GatewayUnderTest, provider: Provider):
    reply = await ask(gateway, gpu_preference="H100:4")
    assert code_of(reply) == (400, "gpu_not_supported_for_model")


async def test_the_list_of_models_follows_a_provider_s_key(gateway: GatewayUnderTest, provider: Provider):
    async def listed() -> str:
        return next(each["state"] for each in (await gateway.get("/v1/models")).json()["data"] if each["id"] == GPT)

    assert await listed() == "ready"
    kept = dict(gateway.provider_keys)
    gateway.provider_keys.clear()
    assert await listed() == "unavailable"
    gateway.provider_keys.update(kept)
    assert await listed() == "ready"


async def test_without_a_key_the_model_is_listed_but_not_ready(gateway: GatewayUnderTest, provider: Provider):
    entry = (await gateway.get(f"/v1/models/{GPT}")).json()
    assert (entry["ready"], entry["state"], entry["owned_by"], entry["kind"]) == (True, "ready", "openai", "provider")
    gateway.provider_keys.clear()
    entry = (await gateway.get(f"/v1/models/{GPT}")).json()
    assert (entry["ready"], entry["state"]) == (False, "unavailable")
    reply = await ask(gateway)
    assert code_of(reply) == (503, "provider_not_configured")
    assert "OPENAI_API_KEY" in reply.json()["error"]["message"]


async def test_no_more_requests_run_than_may(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [hang]
    gateway.providers._ongoing["openai"] = 256
    assert code_of(await ask(gateway)) == (429, "queue_full")
    assert not provider.requests


# Faults

OVERLOADED = {"error": {"type": "overloaded_error", "message": "x"}}
RESET_BEFORE = stream(breaks=True)


@pytest.mark.parametrize(
    "fault",
    [
        whole({"error": "x"}, 500), whole({}, 503, retry_after="1"), whole({}, 429), whole(OVERLOADED, 529),
        whole({"error": {"message": "x", "type": "server_error"}}), whole(b"{half"), whole(b""), whole({"choices": []}),
        whole(b"<html>", content_type="text/html"), whole(COMPLETION, content_encoding="gzip"), RESET_BEFORE,
    ],
)  # fmt: skip
async def test_a_fault_before_the_first_byte_is_tried_again(
    gateway: GatewayUnderTest, provider: Provider, fault: Script
):
    provider.scripts = [fault, whole(COMPLETION)]
    reply = await ask(gateway)
    assert (reply.status_code, reply.json()) == (200, COMPLETION)
    assert len(provider.requests) == 2
    assert len(gateway.pauses_s) == 1
    assert 0.25 <= gateway.pauses_s[0] <= 10


@pytest.mark.parametrize(
    "first",
    [
        stream(), stream(b"<html>\n\n"), stream(sse("not json")), stream(sse({"error": {"message": "x"}})),
        stream(sse("[1]")), stream(sse('{"choices": [')), stream(breaks=True), whole(COMPLETION),
    ],
)  # fmt: skip
async def test_a_stream_that_has_not_begun_is_tried_again(gateway: GatewayUnderTest, provider: Provider, first: Script):
    provider.scripts = [first, stream(STREAM, DONE)]
    assert (await ask(gateway, stream=True)).content == STREAM + DONE


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    "fault",
    [
        stream(STREAM, breaks=True), stream(STREAM), stream(STREAM, sse("nonsense")), stream(STREAM, hangs=True),
        stream(STREAM, sse('{"choices": [')), stream(STREAM, b"data: {\"x\": \"\xff\"}\n\n"),
        stream(STREAM, sse({"error": {"message": f"oh {SECRET}"}})), stream(STREAM, b"data: " + b"x" * 9_000_000),
    ],
)  # fmt: skip
async def test_a_fault_in_the_middle_is_one_error_event_without_an_end(
    gateway: GatewayUnderTest, provider: Provider, fault: Script, path: str
):
    await configure(gateway, await base_url(gateway), idle_timeout_s=0.1)
    provider.scripts = [fault]
    reply = await ask(gateway, path=path, stream=True, max_tokens=5)
    assert "Hel" in reply.text
    assert "message_stop" not in reply.text
    assert error_event(reply)["code"] == "upstream_error"
    assert SECRET not in reply.text
    assert len(provider.requests) == 1


async def base_url(gateway: GatewayUnderTest) -> str:
    found = gateway.fleet.catalog.find(GPT)
    assert found is not None
    assert found.upstream is not None
    return found.upstream.provider.base_url


async def test_a_provider_that_hangs_is_tried_again_and_given_up(gateway: GatewayUnderTest, provider: Provider):
    await configure(gateway, await base_url(gateway), first_byte_timeout_s=0.1, max_retries=1)
    provider.scripts = [hang]
    assert code_of(await ask(gateway)) == (504, "deadline_exceeded")
    assert len(provider.requests) == 2


async def test_a_provider_that_is_not_there_is_an_error(gateway: GatewayUnderTest):
    await configure(gateway, "http://127.0.0.1:9/v1", max_retries=0)
    assert code_of(await ask(gateway)) == (502, "upstream_error")


async def test_their_rate_limit_is_not_the_callers(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [whole({"error": {"message": "quota of org-123"}}, 429, retry_after="300")]
    reply = await ask(gateway)
    assert code_of(reply) == (503, "upstream_rate_limited")
    assert reply.headers["retry-after"] == "120"
    assert "org-123" not in reply.text
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_never_shown(gateway: GatewayUnderTest, provider: Provider, status: int):
    provider.scripts = [whole({"error": {"message": f"Incorrect API key provided: {SECRET}"}}, status)]
    reply = await ask(gateway)
    assert code_of(reply) == (502, "upstream_error")
    assert "refused raymux's key" in reply.text
    assert SECRET not in reply.text
    assert len(provider.requests) == 1


async def test_a_refused_request_is_told_without_secrets(gateway: GatewayUnderTest, provider: Provider):
    message = f"bad temperature for {SECRET} and sk-proj-abcdefghijkl " + "y " * 5000
    provider.scripts = [whole({"error": {"message": message, "param": "temperature"}}, 400)]
    error = (await ask(gateway)).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "temperature")
    assert "bad temperature" in error["message"]
    assert SECRET not in error["message"]
    assert "sk-proj" not in error["message"]
    assert len(error["message"]) < 600


async def test_a_context_that_is_too_long_has_its_own_code(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [whole({"error": {"message": "m", "code": "context_length_exceeded"}}, 400)]
    assert code_of(await ask(gateway)) == (400, "context_length_exceeded")


async def test_a_redirect_is_not_followed(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [whole({}, 307, location="http://127.0.0.1:1/"), whole(COMPLETION)]
    assert code_of(await ask(gateway)) == (502, "upstream_error")
    assert len(provider.requests) == 1


async def test_a_deadline_leaves_no_time_to_wait_for_a_retry(gateway: GatewayUnderTest, provider: Provider):
    gateway.settings = gateway.settings.model_copy(update={"deadline_s": 2.0})
    provider.scripts = [whole({}, 503, retry_after="3")]
    assert code_of(await ask(gateway)) == (502, "upstream_error")
    assert len(provider.requests) == 1


async def test_a_provider_that_fails_again_and_again_is_left_alone(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [whole({}, 500)]
    for _ in range(3):
        await ask(gateway)
    before = len(provider.requests)
    assert code_of(await ask(gateway)) == (503, "circuit_open")
    assert len(provider.requests) == before
    assert not (await gateway.get(f"/v1/models/{GPT}")).json()["ready"]
    gateway.now_s += 10
    provider.scripts = [whole(COMPLETION)]
    assert (await ask(gateway)).status_code == 200


async def test_refusals_do_not_open_the_circuit(gateway: GatewayUnderTest, provider: Provider):
    for status in (400, 401, 429):
        provider.scripts = [whole({}, status, retry_after="60")]
        for _ in range(6):
            assert (await ask(gateway)).json()["error"]["code"] != "circuit_open"


async def test_a_client_that_leaves_ends_the_providers_work(gateway: GatewayUnderTest, provider: Provider):
    provider.scripts = [stream(STREAM, hangs=True)]
    client = Client(json.dumps({"model": GPT, "messages": HI, "stream": True}).encode())
    calling = asyncio.create_task(gateway.call(chat_scope(), client))
    await until(lambda: provider.requests)
    client.leave()
    await calling
    async with asyncio.timeout(5):
        await provider.has_been_left.wait()
    assert not +gateway.providers._ongoing


async def test_a_local_model_falls_back_to_a_provider(gateway: GatewayUnderTest, provider: Provider):
    models = catalog_dict()["models"]
    models[0]["fallbacks"] = [GPT]
    entries = [{"name": "openai", "base_url": await base_url(gateway), "models": [{"name": "gpt"}]}]
    gateway.manager.configure(catalog_settings(models=models, providers=entries))
    await gateway.publish(report("r1"))
    gateway.relay.script = [ModelFailed("x")]
    provider.scripts = [whole(COMPLETION)]
    reply = await ask(gateway, CHAT)
    assert (reply.status_code, reply.headers["x-raymux-model"]) == (200, GPT)
    assert "x-raymux-gpu" not in reply.headers


async def test_a_reply_without_an_end_is_bounded(
    gateway: GatewayUnderTest, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(provider_client, "MAX_REPLY_BYTES", 10)
    provider.scripts = [whole(COMPLETION)]
    assert code_of(await ask(gateway)) == (502, "upstream_error")


async def test_connections_are_used_again_after_streams(gateway: GatewayUnderTest, provider: Provider):
    ports = []

    async def script(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.append(request.transport.get_extra_info("peername")[1])
        return await stream(STREAM, DONE)(request)

    provider.scripts = [script]
    for _ in range(3):
        assert (await ask(gateway, stream=True)).status_code == 200
    assert len(set(ports)) == 1


async def test_a_provider_without_gpus_has_none_to_validate(gateway: GatewayUnderTest, provider: Provider):
    gateway.manager.answers["cluster"] = Cluster(())
    reply = (await gateway.post("/v1/gpus/validate", json={"model": GPT})).json()
    assert (reply["valid"], reply["gpus"], reply["choice"]) == (True, [], None)
    reply = (await gateway.post("/v1/gpus/validate", json={"model": GPT, "gpu_preference": "L4"})).json()
    assert (reply["valid"], reply["error"]["code"]) == (False, "gpu_not_supported_for_model")


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "ключ"])
def test_what_no_header_may_hold_is_no_key(monkeypatch: pytest.MonkeyPatch, value: str):
    settings = ProviderSettings.model_validate({"name": "openai", "models": [{"name": "m"}]})
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert provider_key(settings) is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right\n")
    key = provider_key(settings)
    assert key is not None
    assert key.get_secret_value() == "sk-right"
    assert "sk-right" not in repr(key)


# The official clients, on a real server


@pytest.fixture
async def url(gateway: GatewayUnderTest, provider: Provider) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(gateway.app, port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


CALLS_STREAM = (
    sse(
        chunk({"role": "assistant", "content": "Hello"}),
        chunk({"tool_calls": [{"index": 0, **CALL}]}),
        chunk({"tool_calls": [{"index": 1, **CALL, "id": "call_2"}]}),
        chunk({}, "tool_calls"),
    )
    + STREAM_USAGE
    + DONE
)


async def test_anthropics_client_with_an_openai_kind(url: str, provider: Provider):
    async with anthropic.AsyncAnthropic(base_url=url, api_key="unused", max_retries=0) as client:
        provider.scripts = [stream(CALLS_STREAM)]
        async with client.messages.stream(model=GPT, messages=HI, max_tokens=9) as events:  # type: ignore[arg-type]
            assert "".join([text async for text in events.text_stream]) == "Hello"
            final = await events.get_final_message()
        assert [block.type for block in final.content] == ["text", "tool_use", "tool_use"]
        assert [block.input for block in final.content[1:]] == [{"city": "Rome"}] * 2  # type: ignore[union-attr]
        assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("tool_use", 7, 3)
        provider.scripts = [whole(COMPLETION)]
        message = await client.messages.create(model=GPT, messages=HI, max_tokens=9)  # type: ignore[arg-type]
        assert message.content[0].text == "Hello"  # type: ignore[union-attr]
        provider.scripts = [stream(STREAM, breaks=True)]
        with pytest.raises(anthropic.APIStatusError):
            async with client.messages.stream(model=GPT, messages=HI, max_tokens=9) as events:  # type: ignore[arg-type]
                await events.get_final_message()


async def test_openais_client_with_an_anthropic_kind(url: str, provider: Provider, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "ray.serve")
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        provider.scripts = [stream(MESSAGE_EVENTS)]
        options: Any = {"model": CLAUDE, "messages": HI, "stream_options": {"include_usage": True}}
        chunks = [chunk async for chunk in await client.chat.completions.create(**options, stream=True)]
        assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == "Hello"
        assert (chunks[-2].choices[0].finish_reason, chunks[-1].usage.total_tokens) == ("stop", 10)
        await until(lambda: '"outcome"' in caplog.text)
        assert '"outcome": "completed"' in caplog.text
        provider.scripts = [whole({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, 400)]
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=CLAUDE, messages=HI)  # type: ignore[arg-type]
        half = MESSAGE_EVENTS[: MESSAGE_EVENTS.index(b"event: content_block_stop")]
        provider.scripts = [stream(half, named({"type": "error", "error": {"type": "overloaded_error"}}))]
        with pytest.raises(openai.APIError):
            _ = [each async for each in await client.chat.completions.create(**options, stream=True)]
