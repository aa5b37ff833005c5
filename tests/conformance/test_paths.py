"""Every path, with and without its `/v1`, with the default model and with names that hold slashes and colons."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from tests.conformance.openai_schema import MODEL, MODEL_LIST, validate, validate_body
from tests.engine_server import CHAT, CHECKPOINT, EMBEDDER, EMBEDDER_ALIAS, PIRATE

HELLO = [{"role": "user", "content": "Hello"}]
DOCUMENTS = ["Cats purr.", "Paris is the capital of France."]

REQUESTS = {
    "/v1/chat/completions": (CHAT, {"messages": HELLO, "max_tokens": 3}),
    "/v1/completions": (CHAT, {"prompt": "Hello", "max_tokens": 3}),
    "/v1/responses": (CHAT, {"input": "Hello", "max_output_tokens": 3}),
    "/v1/embeddings": (EMBEDDER, {"input": "Hello"}),
    "/v1/rerank": (EMBEDDER, {"query": "What is the capital of France?", "documents": DOCUMENTS}),
    "/v1/score": (EMBEDDER, {"text_1": "What is the capital of France?", "text_2": DOCUMENTS}),
    "/v1/tokenize": (CHAT, {"prompt": "Hello"}),
    "/v1/detokenize": (CHAT, {"tokens": [5, 6]}),
}
PATHS = [path for long in REQUESTS for path in (long, long.removeprefix("/v1"))]


@pytest.mark.parametrize("name", ["default", "named", "null"])
@pytest.mark.parametrize("path", PATHS)
def test_path_serves(http: httpx.Client, path: str, name: str):
    model, body = REQUESTS[f"/v1{path.removeprefix('/v1')}"]
    wish = {"default": {}, "named": {"model": model}, "null": {"model": None}}[name]
    reply = http.post(path, json={**wish, **body})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-raymux-model"] == model
    validate_body(path, 200, reply.content)


def test_rerank_orders_documents(http: httpx.Client):
    body = http.post("/v1/rerank", json={**REQUESTS["/v1/rerank"][1], "model": EMBEDDER}).json()
    assert [result["index"] for result in body["results"]] == [1, 0]
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert body["results"][0]["document"]["text"] == DOCUMENTS[1]


def test_rerank_returns_top_n(http: httpx.Client):
    body = http.post("/v1/rerank", json={**REQUESTS["/v1/rerank"][1], "top_n": 1}).json()
    assert [result["index"] for result in body["results"]] == [1]


def test_score_is_higher_for_the_right_document(http: httpx.Client):
    data = http.post("/v1/score", json=REQUESTS["/v1/score"][1]).json()["data"]
    assert data[1]["score"] > data[0]["score"]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_detokenize_undoes_tokenize(http: httpx.Client, prefix: str):
    text = "The quick brown fox, naïve café ☕"
    tokens = http.post(f"{prefix}/tokenize", json={"model": CHAT, "prompt": text}).json()
    assert tokens["count"] == len(tokens["tokens"])
    assert http.post(f"{prefix}/detokenize", json={"model": CHAT, "tokens": tokens["tokens"]}).json()["prompt"] == text


def test_messages_are_tokenized(http: httpx.Client):
    reply = http.post("/tokenize", json={"messages": HELLO})
    assert reply.json()["count"] > 0


def test_stream_without_v1(http: httpx.Client):
    with http.stream("POST", "/chat/completions", json={"messages": HELLO, "max_tokens": 3, "stream": True}) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-cache"
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("encode", [str, lambda name: quote(name, safe="")], ids=["raw", "percent-encoded"])
@pytest.mark.parametrize("name", [CHAT, EMBEDDER_ALIAS, PIRATE, CHECKPOINT])
def test_model_id_in_a_path(http: httpx.Client, name: str, encode, prefix: str):
    reply = http.get(httpx.URL(f"{http.base_url}").copy_with(raw_path=f"{prefix}/models/{encode(name)}".encode()))
    assert reply.status_code == 200, reply.text
    validate(MODEL, reply.json())
    assert name in (reply.json()["id"], *reply.json()["aliases"])


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_model_list(http: httpx.Client, prefix: str):
    reply = http.get(f"{prefix}/models")
    validate(MODEL_LIST, reply.json())


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/v1/status", "/status"])
def test_operations_answer(http: httpx.Client, path: str):
    reply = http.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"


def test_health_may_be_posted_to(http: httpx.Client):
    assert http.post("/health").status_code == 200
