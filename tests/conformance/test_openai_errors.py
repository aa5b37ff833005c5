"""What the official `openai` client makes of raymux's refusals."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest

from tests.engine_server import CHAT, EMBEDDER

HELLO = [{"role": "user", "content": "Hello"}]


def refusal(kind: type[openai.APIStatusError], call: Callable[[], object]) -> openai.APIStatusError:
    """The error that the call raises; it has all that a caller needs."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert error.body["message"] in error.message
    assert error.body["request_id"] == error.request_id
    assert error.type == "invalid_request_error"
    return error


@pytest.mark.parametrize("name", ["Demo-Chat", "demo"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_near_miss_is_not_found_and_gets_a_suggestion(client: openai.OpenAI, name: str, is_stream: bool):
    error = refusal(
        openai.NotFoundError,
        lambda: client.chat.completions.create(model=name, messages=HELLO, stream=is_stream),
    )
    assert (error.code, error.param) == ("model_not_found", "model")
    assert CHAT in error.body["message"]
    assert "GET /v1/models" in error.body["message"]


def test_unknown_model_is_not_found(client: openai.OpenAI):
    error = refusal(openai.NotFoundError, lambda: client.embeddings.create(model="nobody-knows-it", input="a"))
    assert error.code == "model_not_found"


def test_unknown_model_is_not_retrieved(client: openai.OpenAI):
    error = refusal(openai.NotFoundError, lambda: client.models.retrieve("Demo-Chat"))
    assert error.code == "model_not_found"
    assert CHAT in error.body["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", "hello"),
        ("messages", []),
        ("messages", [{"role": 5, "content": "x"}]),
        ("temperature", "hot"),
        ("temperature", -1),
        ("top_p", 2),
        ("max_tokens", "many"),
        ("max_tokens", -1),
        ("n", 0),
        ("stream", "yes"),
        ("stop", 5),
        ("seed", "x"),
        ("logit_bias", {"1": "x"}),
        ("tools", "x"),
        ("response_format", {"type": "poem"}),
    ],
)
def test_bad_value_is_a_bad_request(client: openai.OpenAI, field: str, value: object):
    request = {"model": CHAT, "messages": HELLO}
    error = refusal(
        openai.BadRequestError, lambda: client.chat.completions.create(**request, extra_body={field: value})
    )
    assert error.code == "invalid_request"


def test_too_long_prompt_names_the_context(client: openai.OpenAI):
    error = refusal(openai.BadRequestError, lambda: client.completions.create(model=CHAT, prompt="one two " * 3000))
    assert error.code == "context_length_exceeded"


def test_model_for_another_task_is_a_bad_request(client: openai.OpenAI):
    error = refusal(openai.BadRequestError, lambda: client.chat.completions.create(model=EMBEDDER, messages=HELLO))
    assert (error.code, error.param) == ("invalid_request", "model")
    assert CHAT in error.body["message"]
