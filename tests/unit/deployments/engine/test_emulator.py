from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from catalog.models import EmulatedEngine
from catalog.replicas import StartStep
from deployments.engine.base import TokenCount, current_tokens
from deployments.engine.emulator import EmulatedEngineServer
from tests.unit.builders import until

PATHS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a b"}]},
    "/v1/completions": {"prompt": "a b"},
}


def engine(**settings: object) -> EmulatedEngineServer:
    return EmulatedEngineServer(EmulatedEngine.model_validate({"token_interval_ms": 0, **settings}), "demo")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(engine().app), base_url="http://engine") as found:
        yield found


def text(choice: dict) -> str:
    return choice.get("text") or (choice.get("message") or choice.get("delta"))["content"]


def events(body: str) -> list[str]:
    return [event.removeprefix("data: ") for event in body.split("\n\n") if event]


@pytest.mark.parametrize("path", PATHS)
async def test_the_same_request_gets_the_same_tokens(client: httpx.AsyncClient, path: str) -> None:
    replies = [(await client.post(path, json={**PATHS[path], "max_tokens": 3})).json() for _ in range(2)]
    assert [text(reply["choices"][0]) for reply in replies] == ["one two three "] * 2
    assert replies[0]["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_says_the_same_as_a_whole_reply_and_ends_with_done(client: httpx.AsyncClient, path: str) -> None:
    body = {**PATHS[path], "max_tokens": 12, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, done = events((await client.post(path, json=body)).text)
    *parts, usage = map(json.loads, chunks)
    whole = (await client.post(path, json={**PATHS[path], "max_tokens": 12})).json()
    assert done == "[DONE]"
    assert "".join(text(part["choices"][0]) for part in parts) == text(whole["choices"][0])
    assert [part["choices"][0]["finish_reason"] for part in parts] == [None] * 11 + ["length"]
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]


@pytest.mark.parametrize("max_tokens", [-1, 1.5, "many", [1]])
async def test_a_senseless_length_is_refused(client: httpx.AsyncClient, max_tokens: object) -> None:
    reply = await client.post("/v1/completions", json={"prompt": "a", "max_tokens": max_tokens})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "max_tokens"


async def test_embeddings_come_one_for_each_input(client: httpx.AsyncClient) -> None:
    for given, num in (("a", 1), (["a", "bb", "ccc"], 3)):
        data = (await client.post("/v1/embeddings", json={"input": given})).json()["data"]
        assert [entry["index"] for entry in data] == list(range(num))


async def test_tokens_are_counted_where_they_are_made(client: httpx.AsyncClient) -> None:
    count = TokenCount()
    token = current_tokens.set(count)
    try:
        await client.post("/v1/completions", json={"prompt": "a b c", "max_tokens": 5})
    finally:
        current_tokens.reset(token)
    assert (count.prompt_tokens, count.completion_tokens) == (3, 5)


async def test_the_load_is_what_runs_and_a_client_that_leaves_is_not() -> None:
    server = engine(token_interval_ms=10_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://engine") as client:
        request = asyncio.create_task(client.post("/v1/completions", json={"prompt": "a"}))
        await until(lambda: server.load().running)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    assert server.load().running == 0


async def test_it_is_alive_from_its_start_to_its_stop() -> None:
    server = engine()
    assert not server.is_alive()
    steps: list[StartStep] = []
    await server.start(steps.append)
    assert steps == [StartStep.LOADING]
    assert server.is_alive()
    await server.stop()
    assert not server.is_alive()


async def test_it_fails_to_start_when_told_to() -> None:
    server = engine(fail_start="the weights are cursed")
    with pytest.raises(RuntimeError, match="the weights are cursed"):
        await server.start(lambda step: None)
    assert not server.is_alive()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {}),
        ("/v1/embeddings", {"input": None}),
        ("/v1/chat/completions", {"stream_options": ["include_usage"]}),
        ("/v1/chat/completions", {"max_tokens": -1}),
    ],
)
async def test_what_vllm_refuses_it_refuses_too(client: httpx.AsyncClient, path: str, body: dict) -> None:
    assert (await client.post(path, json=body)).status_code == 400


async def test_a_prompt_that_was_computed_is_not_computed_again_and_the_usage_says_so() -> None:
    cached = engine(prefix_cache_tokens=1000)
    body = {"messages": [{"role": "user", "content": "word " * 100}], "max_tokens": 1}
    count = TokenCount()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(cached.app), base_url="http://engine") as client:
        replies = [(await client.post("/v1/chat/completions", json=body)).json() for _ in range(2)]
        token = current_tokens.set(count)
        try:
            streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
            *_, usage, _ = events((await client.post("/v1/chat/completions", json=streamed)).text)
        finally:
            current_tokens.reset(token)
    told = [each["usage"]["prompt_tokens_details"]["cached_tokens"] for each in (*replies, json.loads(usage))]
    assert told == [0, 96, 96]
    assert count.cached_tokens == 96
    assert cached.load().kv_capacity_tokens == 1000
