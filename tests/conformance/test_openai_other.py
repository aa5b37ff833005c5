"""Completions, responses, embeddings and models by the official `openai` client."""

from __future__ import annotations

import math

import openai
import pytest

from tests.engine_server import CHAT, CHECKPOINT, EMBEDDER, EMBEDDER_ALIAS, FORMAL, LATEST_CHECKPOINT, PIRATE


def test_completion_streamed_equals_unstreamed(client: openai.OpenAI):
    request = {"model": CHAT, "prompt": "The sea is", "temperature": 0, "max_tokens": 30}
    whole = client.completions.create(**request)
    chunks = list(client.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_completion_of_several_prompts_with_echo_and_logprobs(client: openai.OpenAI):
    completion = client.completions.create(
        model=CHAT, prompt=["One", "Two"], max_tokens=3, echo=True, logprobs=2, temperature=0
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert [choice.text[:3] for choice in completion.choices] == ["One", "Two"]
    for choice in completion.choices:
        # The token that ends a text is among the tokens and not in the text.
        assert "".join(choice.logprobs.tokens).startswith(choice.text)


def test_response(client: openai.OpenAI):
    response = client.responses.create(model=CHAT, input="What is 2+2?", temperature=0, max_output_tokens=200)
    assert response.status == "completed"
    assert response.output_text.strip()
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


def test_response_of_messages_with_instructions(client: openai.OpenAI):
    response = client.responses.create(
        model=CHAT,
        instructions="Be brief.",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "What is 2+2?"}]}],
        max_output_tokens=50,
    )
    assert response.output[0].content[0].type == "output_text"


def test_response_streamed_equals_unstreamed(client: openai.OpenAI):
    request = {"model": CHAT, "input": "What is 2+2?", "temperature": 0, "max_output_tokens": 200}
    events = list(client.responses.create(**request, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == client.responses.create(**request).output_text == events[-1].response.output_text


def test_cut_response_says_so(client: openai.OpenAI):
    request = {"model": CHAT, "input": "Write a long essay about the sea.", "max_output_tokens": 5}
    response = client.responses.create(**request)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_cut_response_stream_ends_as_incomplete(client: openai.OpenAI):
    request = {"model": CHAT, "input": "Write a long essay about the sea.", "max_output_tokens": 5}
    events = list(client.responses.create(**request, stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.status == "incomplete"


def test_embeddings_as_floats_and_as_base64_are_equal(client: openai.OpenAI):
    request = {"model": EMBEDDER, "input": ["a ship at sea", "a cat"]}
    floats = client.embeddings.create(**request, encoding_format="float")
    # Without a format the client asks for base64 and decodes it.
    decoded = client.embeddings.create(**request)
    raw = client.embeddings.create(**request, encoding_format="base64")
    assert [item.index for item in floats.data] == [0, 1]
    for plain, other, text in zip(floats.data, decoded.data, raw.data, strict=True):
        assert len(plain.embedding) == 384
        assert other.embedding == pytest.approx(plain.embedding, abs=1e-5)
        assert isinstance(text.embedding, str)
        assert math.hypot(*plain.embedding) == pytest.approx(1, abs=1e-3)
    assert floats.usage.prompt_tokens > 0


def test_embedding_of_token_ids(client: openai.OpenAI):
    assert len(client.embeddings.create(model=EMBEDDER, input=[101, 7592, 102]).data[0].embedding) == 384


def test_every_model_is_listed(client: openai.OpenAI):
    listed = {model.id: model for model in client.models.list()}
    assert {CHAT, EMBEDDER, PIRATE, FORMAL, CHECKPOINT} <= set(listed)
    for model in listed.values():
        extra = model.model_extra
        assert isinstance(extra["ready"], bool)
        assert extra["state"] in ("cold", "scheduling", "starting", "ready", "draining", "stopped", "failed")
        assert extra["endpoint"].startswith("/v1/")
    assert listed[CHAT].model_extra["ready"]


@pytest.mark.parametrize("name", [CHAT, EMBEDDER, PIRATE, CHECKPOINT])
def test_model_is_retrieved_by_its_name(client: openai.OpenAI, name: str):
    assert client.models.retrieve(name).id == name


@pytest.mark.parametrize(("alias", "name"), [(EMBEDDER_ALIAS, EMBEDDER), (LATEST_CHECKPOINT, CHECKPOINT)])
def test_model_is_retrieved_by_an_alias(client: openai.OpenAI, alias: str, name: str):
    assert client.models.retrieve(alias).id == name


def test_alias_serves(client: openai.OpenAI):
    assert client.embeddings.create(model=EMBEDDER_ALIAS, input="a").data
