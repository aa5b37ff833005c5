"""The official asynchronous `openai` client."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.engine_server import CHAT, EMBEDDER, PIRATE

QUESTION = [{"role": "user", "content": "What is 2+2?"}]


async def streamed(client: openai.AsyncOpenAI, **request) -> str:
    stream = await client.chat.completions.create(stream=True, **request)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_chat_streamed_equals_unstreamed(async_client: openai.AsyncOpenAI):
    request = {"model": CHAT, "messages": QUESTION, "temperature": 0, "max_tokens": 100}
    whole = await async_client.chat.completions.create(**request)
    assert await streamed(async_client, **request) == whole.choices[0].message.content


async def test_everything_at_once(async_client: openai.AsyncOpenAI):
    chat, pirate, completion, response, embeddings, models = await asyncio.gather(
        async_client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=20),
        streamed(async_client, model=PIRATE, messages=QUESTION, max_tokens=20),
        async_client.completions.create(model=CHAT, prompt="The sea", max_tokens=5),
        async_client.responses.create(model=CHAT, input="What is 2+2?", max_output_tokens=50),
        async_client.embeddings.create(model=EMBEDDER, input=["a", "b"]),
        async_client.models.list(),
    )
    assert chat.choices[0].message.content
    assert pirate
    assert completion.choices[0].text
    assert response.output_text
    assert len(embeddings.data) == 2
    assert len(models.data) >= 5


async def test_response_stream(async_client: openai.AsyncOpenAI):
    stream = await async_client.responses.create(
        model=CHAT, input="What is 2+2?", max_output_tokens=200, temperature=0, stream=True
    )
    events = [event async for event in stream]
    assert events[-1].type == "response.completed"


async def test_near_miss_is_not_found(async_client: openai.AsyncOpenAI):
    with pytest.raises(openai.NotFoundError) as caught:
        await streamed(async_client, model="Demo-Chat", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    assert CHAT in caught.value.message


async def test_leaving_a_stream_early_is_no_error(async_client: openai.AsyncOpenAI):
    essay = [{"role": "user", "content": "Write a long essay about the sea."}]
    async with await async_client.chat.completions.create(
        model=CHAT, messages=essay, max_tokens=1000, stream=True
    ) as stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    assert await streamed(async_client, model=CHAT, messages=QUESTION, max_tokens=5)
