from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from raymux import AsyncInferenceClient, ColdStart, WarmupFailed
from raymux.client import async_inference, bodies
from tests.unit.raymux.client.stub import Stub, completion, error, stream


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
async def client(stub: Stub) -> AsyncIterator[AsyncInferenceClient]:
    async with AsyncInferenceClient("http://host:1", http_client=stub.async_client, max_retries=0) as opened:
        yield opened


async def test_the_short_forms_answer_as_the_blocking_ones_do(stub: Stub, client: AsyncInferenceClient) -> None:
    stub.on("POST /chat/completions", completion("four"), stream("a", "b"))
    assert await client.chat("2+2?", model="m", min_p=0.1) == "four"
    assert [piece async for piece in client.chat.stream("x")] == ["a", "b"]
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    stub.on("POST /embeddings", {"object": "list", "model": "e", "data": data, "usage": usage})
    assert await client.embed(["a"]) == [[0.5]]
    stub.on("POST /rerank", {"results": [{"index": 0, "relevance_score": 1.0}]})
    assert [each.index for each in await client.rerank("q", ["a"])] == [0]
    stub.on("GET /status", {"object": "status", "variants": []})
    assert (await client.status()).variants == []


async def test_the_official_calls_work_untouched(stub: Stub, client: AsyncInferenceClient) -> None:
    stub.on("POST /chat/completions", stream("a", "b"), error(429, "queue_full", "Full."))
    messages: Any = [{"role": "user", "content": "x"}]
    chunks = await client.chat.completions.create(model="m", messages=messages, stream=True)
    assert [chunk.choices[0].delta.content async for chunk in chunks] == ["a", "b"]
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="m", messages=messages)


async def test_warmup_waits_or_fails_with_the_reason(
    stub: Stub, client: AsyncInferenceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "WARMUP_LOOK_EVERY_S", 0)
    starting = {"id": "w", "model": "m", "gpu": "L4", "state": "starting", "keep_warm_s": 0}
    stub.on("POST /warmup", starting)
    stub.on("GET /warmup/w", {**starting, "state": "ready"}, {**starting, "state": "failed", "error": "no weights"})
    seen: list[ColdStart] = []
    assert (await client.warmup("m", on_cold_start=seen.append)).state == "ready"
    assert [each.state for each in seen] == ["starting"]
    with pytest.raises(WarmupFailed, match="no weights"):
        await client.warmup("m")


async def test_a_stream_s_comments_reach_the_callback(stub: Stub) -> None:
    stub.on("POST /chat/completions", stream("a", before=["raymux starting waited_s=1"]))
    seen: list[ColdStart] = []
    async with AsyncInferenceClient(http_client=stub.async_client, on_cold_start=seen.append) as client:
        assert [piece async for piece in client.chat.stream("x", model="m")] == ["a"]
    assert [each.state for each in seen] == ["starting"]


async def test_a_whole_reply_is_watched_by_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_inference, "LOOK_AFTER_S", 0)
    was_told = asyncio.Event()
    seen: list[ColdStart] = []

    def report(progress: ColdStart) -> None:
        seen.append(progress)
        was_told.set()

    import httpx2

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/status"):
            return httpx2.Response(200, json={"variants": [{"model": "m", "state": "starting"}]})
        await asyncio.wait_for(was_told.wait(), 10)
        return httpx2.Response(200, json=completion("done"))

    transport = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncInferenceClient(http_client=transport, on_cold_start=report) as client:
        assert await client.chat("x") == "done"
    assert seen[0].model == "m"
