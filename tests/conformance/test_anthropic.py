"""The official `anthropic` client on `/v1/messages`."""

from __future__ import annotations

import anthropic
import httpx
import pytest

from tests.engine_server import CHAT, PIRATE

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
# This client has no parameter for it.
EXACT = {"temperature": 0}
ESSAY = [{"role": "user", "content": "Write a long essay about the sea."}]


def test_message(anthropic_client: anthropic.Anthropic):
    message = anthropic_client.messages.create(model=CHAT, messages=QUESTION, max_tokens=200)
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.content[0].text.strip()
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0


def test_message_with_system_prompt_and_blocks(anthropic_client: anthropic.Anthropic):
    message = anthropic_client.messages.create(
        model=CHAT,
        system="You are a helpful assistant.",
        messages=[{"role": "user", "content": [{"type": "text", "text": "What is 2+2?"}]}],
        max_tokens=50,
    )
    assert message.content[0].type == "text"


def test_adapter_speaks_here_too(anthropic_client: anthropic.Anthropic):
    texts = {
        model: anthropic_client.messages.create(model=model, messages=QUESTION, max_tokens=100, extra_body=EXACT)
        .content[0]
        .text
        for model in (CHAT, PIRATE)
    }
    assert texts[CHAT] != texts[PIRATE]


def test_streamed_text_equals_unstreamed(anthropic_client: anthropic.Anthropic):
    request = {"model": CHAT, "messages": QUESTION, "max_tokens": 200, "extra_body": EXACT}
    whole = anthropic_client.messages.create(**request)
    with anthropic_client.messages.stream(**request) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_max_tokens_cuts_the_answer(anthropic_client: anthropic.Anthropic):
    message = anthropic_client.messages.create(model=CHAT, messages=ESSAY, max_tokens=20)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens <= 20


def test_tokens_are_counted(anthropic_client: anthropic.Anthropic):
    counted = anthropic_client.messages.count_tokens(model=CHAT, messages=QUESTION)
    message = anthropic_client.messages.create(model=CHAT, messages=QUESTION, max_tokens=1)
    assert counted.input_tokens == message.usage.input_tokens


async def test_async_stream(async_anthropic_client: anthropic.AsyncAnthropic):
    async with async_anthropic_client.messages.stream(model=CHAT, messages=QUESTION, max_tokens=50) as stream:
        text = "".join([piece async for piece in stream.text_stream])
    assert text


@pytest.mark.parametrize("name", ["Demo-Chat", "demo"])
def test_near_miss_is_not_found_and_gets_a_suggestion(anthropic_client: anthropic.Anthropic, name: str):
    with pytest.raises(anthropic.NotFoundError) as caught:
        anthropic_client.messages.create(model=name, messages=QUESTION, max_tokens=5)
    error = caught.value.body["error"]
    assert error["code"] == "model_not_found"
    assert CHAT in error["message"]
    assert error["request_id"] == caught.value.response.headers["x-request-id"]


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": -1}, {"max_tokens": "x"}, {"messages": "x"}, {"temperature": "x"}, {"tools": 5}]
)
def test_bad_value_is_a_bad_request(anthropic_client: anthropic.Anthropic, wrong: dict):
    with pytest.raises(anthropic.BadRequestError) as caught:
        anthropic_client.messages.create(model=CHAT, messages=QUESTION, max_tokens=5, extra_body=wrong)
    assert caught.value.body["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/v1/messages/count_tokens", "/messages/count_tokens"])
def test_default_model_answers_when_none_is_named(http: httpx.Client, path: str):
    reply = http.post(path, json={"messages": QUESTION, "max_tokens": 5})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-raymux-model"] == CHAT
