"""Chat completions by the official `openai` client."""

from __future__ import annotations

import json

import openai
import pytest

from tests.engine_server import CHAT

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
ESSAY = [{"role": "user", "content": "Write a long essay about the sea."}]
MIDDLE = [{"role": "user", "content": "Write a Python function that computes the nth Fibonacci number."}]


def answer(client: openai.OpenAI, messages: list, **parameters) -> str:
    parameters = {"model": CHAT, "temperature": 0, "max_tokens": 200, **parameters}
    return client.chat.completions.create(messages=messages, **parameters).choices[0].message.content


def test_answer_ends_by_itself(client: openai.OpenAI):
    completion = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=200)
    assert completion.model == CHAT
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content.strip()
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_reply_names_its_request_once(client: openai.OpenAI):
    reply = client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION, max_tokens=2)
    assert reply.headers.get_list("x-request-id") == [reply.request_id]
    assert reply.headers["x-raymux-model"] == CHAT
    assert reply.headers["x-raymux-gpu"] == "CPU;reason=warm"


def test_request_id_of_the_caller_comes_back(client: openai.OpenAI):
    reply = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=QUESTION, max_tokens=2, extra_headers={"X-Request-Id": "conformance-1"}
    )
    assert reply.headers.get_list("x-request-id") == ["conformance-1"]


@pytest.mark.parametrize("messages", [QUESTION, MIDDLE], ids=["short", "code"])
def test_streamed_text_and_usage_equal_unstreamed(client: openai.OpenAI, messages: list):
    request = {"model": CHAT, "messages": messages, "temperature": 0, "max_tokens": 200}
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in deltas) == whole.choices[0].message.content
    assert deltas[0].delta.role == "assistant"
    assert [choice.finish_reason for choice in deltas if choice.finish_reason] == [whole.choices[0].finish_reason]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens, chunks[-1].usage.total_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
        whole.usage.total_tokens,
    )


def test_stream_without_wish_for_usage_has_none(client: openai.OpenAI):
    chunks = list(client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=5, stream=True))
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_helper_of_the_client_works(client: openai.OpenAI):
    with client.chat.completions.stream(model=CHAT, messages=QUESTION, temperature=0, max_tokens=200) as stream:
        for _ in stream:
            pass
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == answer(client, QUESTION)


def test_answers_at_temperature_zero_are_equal(client: openai.OpenAI):
    assert answer(client, MIDDLE) == answer(client, MIDDLE)


def test_max_tokens_cuts_the_answer(client: openai.OpenAI):
    completion = client.chat.completions.create(model=CHAT, messages=ESSAY, temperature=0, max_tokens=20)
    assert completion.usage.completion_tokens <= 20
    assert completion.choices[0].finish_reason == "length"


def test_long_essay_goes_on_to_a_high_max_tokens(client: openai.OpenAI):
    request = {"model": CHAT, "messages": ESSAY, "temperature": 0}
    short = client.chat.completions.create(**request, max_tokens=20)
    long = client.chat.completions.create(**request, max_tokens=500)
    assert long.choices[0].message.content.startswith(short.choices[0].message.content)
    assert len(long.choices[0].message.content) > len(short.choices[0].message.content)
    assert long.usage.completion_tokens == 500
    assert long.choices[0].finish_reason == "length"


def test_max_completion_tokens_cuts_too(client: openai.OpenAI):
    completion = client.chat.completions.create(model=CHAT, messages=ESSAY, max_completion_tokens=7)
    assert completion.usage.completion_tokens == 7


def test_two_choices(client: openai.OpenAI):
    completion = client.chat.completions.create(model=CHAT, messages=QUESTION, n=2, max_tokens=30, temperature=1)
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert all(choice.message.content for choice in completion.choices)


def test_two_choices_streamed(client: openai.OpenAI):
    chunks = client.chat.completions.create(model=CHAT, messages=QUESTION, n=2, max_tokens=30, stream=True)
    ended = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ended) == [0, 1]


def test_stop_cuts_before_the_text(client: openai.OpenAI):
    whole = answer(client, ESSAY, max_tokens=60)
    stop = whole[len(whole) // 2 :][:8]
    completion = client.chat.completions.create(model=CHAT, messages=ESSAY, temperature=0, max_tokens=60, stop=[stop])
    assert completion.choices[0].message.content == whole.partition(stop)[0]
    assert completion.choices[0].finish_reason == "stop"


def test_logprobs_follow_the_text(client: openai.OpenAI):
    completion = client.chat.completions.create(
        model=CHAT, messages=QUESTION, temperature=0, max_tokens=50, logprobs=True, top_logprobs=3
    )
    tokens = completion.choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode().startswith(completion.choices[0].message.content)
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.logprob == max(top.logprob for top in token.top_logprobs)


def test_logprobs_in_a_stream(client: openai.OpenAI):
    chunks = client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=5, stream=True, logprobs=True, top_logprobs=1
    )
    logprobs = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert logprobs
    assert all(each.content for each in logprobs)


def test_seed_makes_sampling_repeatable(client: openai.OpenAI):
    wild = {"temperature": 2, "max_tokens": 30}
    assert answer(client, ESSAY, seed=7, **wild) == answer(client, ESSAY, seed=7, **wild)
    assert len({answer(client, ESSAY, seed=seed, **wild) for seed in range(4)}) > 1


def test_system_prompt_and_history_are_accepted(client: openai.OpenAI):
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": "What is 2+2?"}]},
    ]
    assert answer(client, messages)


def test_json_schema_is_kept_to(client: openai.OpenAI):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    wish = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}}
    # A model this small may fill the object with white space, so it may not come to its end.
    assert answer(client, QUESTION, response_format=wish, max_tokens=20).lstrip().startswith("{")


def test_choices_are_kept_to(client: openai.OpenAI):
    wish = {"structured_outputs": {"choice": ["violet", "maroon"]}}
    assert answer(client, QUESTION, extra_body=wish) in ("violet", "maroon")


TOOL = {
    "type": "function",
    # Without parameters there is one call only.
    "function": {"name": "answer", "strict": True, "parameters": {"type": "object", "additionalProperties": False}},
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "answer"}}])
def test_a_tool_that_must_be_called_is_called(client: openai.OpenAI, choice: object):
    request = {"model": CHAT, "messages": QUESTION, "temperature": 0, "tools": [TOOL], "tool_choice": choice}
    # A model this small would fill the object with white space, which its grammar allows, for ever.
    completion = client.chat.completions.create(**request, max_tokens=200, frequency_penalty=2)
    (call,) = completion.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("answer", {})
