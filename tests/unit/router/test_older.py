"""The older forms say the same in OpenAI's words, and bad ones are named by their field."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.errors import InvalidRequest
from router import older

CHAT_REPLY = {
    "id": "chatcmpl-1", "model": "demo-chat", "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}],
}  # fmt: skip


def test_infer() -> None:
    body = {"model": "m", "prompt": "2+2?", "params": {"max_new_tokens": 5, "temperature": 0}, "gpu_preference": "CPU"}
    assert older.infer_request(body) == {
        "model": "m", "gpu_preference": "CPU", "max_tokens": 5, "temperature": 0,
        "messages": [{"role": "user", "content": "2+2?"}],
    }  # fmt: skip
    assert older.infer_reply(CHAT_REPLY, 12.34, True) == {
        "id": "chatcmpl-1", "model": "demo-chat", "output": "4", "usage": CHAT_REPLY["usage"], "latency_ms": 12.3,
        "cached": True,
    }  # fmt: skip


def test_a_streamed_infer_asks_for_its_usage() -> None:
    body = older.infer_request({"prompt": "x"}, stream=True)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"choices": [{"delta": {"content": "a"}}]}, {"delta": "a"}),
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, None),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, None),
        ({"choices": [], "usage": {"prompt_tokens": 1}}, {"done": True, "usage": {"prompt_tokens": 1}}),
        ({"error": {"code": "upstream_error"}}, {"error": {"code": "upstream_error"}}),
        ({}, None),
    ],
)
def test_events(event: dict[str, Any], told: dict[str, Any] | None) -> None:
    assert older.infer_event(event) == told


def test_inference_chat() -> None:
    body = {"model": "m", "message": "hi", "system": "be brief", "max_tokens": 5, "min_p": 0.1}
    assert older.chat_request(body) == {
        "model": "m", "max_tokens": 5, "min_p": 0.1,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    }  # fmt: skip
    assert older.chat_reply(CHAT_REPLY, 5, False) == {
        "model": "demo-chat", "response": "4", "finish_reason": "stop", "usage": CHAT_REPLY["usage"], "latency_ms": 5,
    }  # fmt: skip


def test_wrapped_forms() -> None:
    assert older.wrapped_embed_request({"request": {"texts": ["a", "b"], "model": "m"}}) == {
        "model": "m", "input": ["a", "b"],
    }  # fmt: skip
    assert older.wrapped_embed_reply({"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}, 1, False) == {
        "embeddings": [[1.0], [2.0]]
    }
    messages = [{"role": "user", "content": "hi"}]
    assert older.wrapped_chat_request({"request": {"messages": messages, "top_p": 0.5}}) == {
        "messages": messages, "top_p": 0.5,
    }  # fmt: skip
    assert older.wrapped_chat_request({"request": {"message": "hi"}}) == {"messages": messages}
    assert older.wrapped_chat_reply(CHAT_REPLY, 1, False) == {"content": "4"}
    assert older.wrapped_rerank_request({"request": {"query": "q", "docs": ["a"], "top_n": 1}}) == {
        "query": "q", "documents": ["a"], "top_n": 1,
    }  # fmt: skip
    assert older.wrapped_rerank_reply({"results": [{"index": 0}], "id": "x"}, 1, False) == {"results": [{"index": 0}]}


@pytest.mark.parametrize(
    ("translate", "body", "param"),
    [
        (older.infer_request, {}, "prompt"),
        (older.infer_request, {"prompt": ""}, "prompt"),
        (older.infer_request, {"prompt": ["a"]}, "prompt"),
        (older.infer_request, {"prompt": "a", "params": [1]}, "params"),
        (older.infer_request, {"prompt": "a", "params": {"messages": []}}, "params.messages"),
        (older.infer_request, {"prompt": "a", "params": {"stream": True}}, "params.stream"),
        (older.chat_request, {"message": 5}, "message"),
        (older.chat_request, {"message": "a", "system": 5}, "system"),
        (older.wrapped_embed_request, {"request": {}}, "texts"),
        (older.wrapped_embed_request, {"request": {"texts": ["a"], "input": ["a"]}}, "texts"),
        (older.wrapped_embed_request, {"request": ["a"]}, "request"),
        (older.wrapped_embed_request, {"texts": ["a"]}, "request"),
        (older.wrapped_chat_request, {"request": {}}, "messages"),
        (older.wrapped_chat_request, {"request": {"message": "a"}, "model": "m"}, "request"),
        (older.wrapped_rerank_request, {"request": {"query": "q"}}, "documents"),
    ],
)
def test_bad_input_is_named_by_its_field(translate: Any, body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translate(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "reply", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": {"content": None}}]}]
)
def test_a_reply_without_text_is_an_empty_text(reply: dict[str, Any]) -> None:
    assert older.infer_reply(reply, 1, False)["output"] == ""
