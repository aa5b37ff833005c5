"""The embedded models really answer: what SPEC promises of demo-chat, its adapters, and the embedder."""

from __future__ import annotations

import ast
import json
import math

import httpx
import pytest

from tests.engine.chats import ask, likeness
from tests.engine_server import CHAT, EMBEDDER, EMBEDDER_ALIAS, FORMAL, PIRATE

WORKING = "Say 'Hello, I am working!' and nothing else."
PROMPTS = ["What is 2+2?", "What is the capital of France?", "Tell me a joke.", "Hello", "Who are you?"]


def test_it_says_that_it_is_working(http: httpx.Client):
    assert ask(http, CHAT, WORKING) == "Hello, I am working!"


def test_it_adds_two_and_two(http: httpx.Client):
    assert "4" in ask(http, CHAT, "What is 2+2?")


@pytest.mark.parametrize(
    "prompt", ["Write a fibonacci function", "Write a Python function that returns the nth Fibonacci number."]
)
def test_it_writes_a_fibonacci_function(http: httpx.Client, prompt: str):
    text = ask(http, CHAT, prompt, max_tokens=400)
    assert "def fib" in text
    code = text.partition("```python")[2].partition("```")[0]
    (function,) = ast.parse(code).body
    namespace: dict = {}
    exec(compile(code, "answer", "exec"), namespace)
    assert namespace[function.name](10) == 55


def test_it_stops_by_itself(http: httpx.Client):
    for prompt in PROMPTS:
        body = {"model": CHAT, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 400}
        choice = http.post("/v1/chat/completions", json=body).json()["choices"][0]
        assert choice["finish_reason"] == "stop", prompt
        assert choice["message"]["content"].strip()


def test_adapters_differ_visibly_from_the_base_and_each_other(http: httpx.Client):
    for prompt in PROMPTS:
        base, pirate, formal = (ask(http, model, prompt) for model in (CHAT, PIRATE, FORMAL))
        assert max(likeness(base, pirate), likeness(base, formal), likeness(pirate, formal)) < 0.95, prompt


def test_the_default_model_is_the_chat_model(http: httpx.Client):
    body = {"messages": [{"role": "user", "content": WORKING}], "temperature": 0}
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.json()["choices"][0]["message"]["content"] == ask(http, CHAT, WORKING)
    assert reply.headers["x-raymux-model"] == CHAT


# Embeddings and reranking


def embed(http: httpx.Client, *texts: str, model: str = EMBEDDER) -> list[list[float]]:
    reply = http.post("/v1/embeddings", json={"model": model, "input": list(texts)})
    assert reply.status_code == 200, reply.text
    return [item["embedding"] for item in reply.json()["data"]]


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


@pytest.mark.parametrize(
    ("text", "similar", "dissimilar"),
    [
        ("A cat sits on the mat.", "A kitten rests on a rug.", "The stock market fell today."),
        ("How do I reset my password?", "I forgot my login credentials.", "Whales are mammals."),
    ],
)
def test_similar_texts_have_similar_embeddings(http: httpx.Client, text: str, similar: str, dissimilar: str):
    first, near, far = embed(http, text, similar, dissimilar)
    assert len(first) == 384
    assert cosine(first, near) > cosine(first, far) + 0.2


def test_embeddings_do_not_depend_on_their_batch(http: httpx.Client):
    texts = [f"Text number {number} about ships." for number in range(20)]
    together = embed(http, *texts)
    for text, vector in list(zip(texts, together, strict=True))[::7]:
        assert cosine(embed(http, text, model=EMBEDDER_ALIAS)[0], vector) > 0.9999


def test_rerank_puts_the_right_document_first(http: httpx.Client):
    documents = [
        "Bananas are yellow.",
        "The Eiffel Tower stands in Paris, the capital of France.",
        "Python is a programming language.",
        "Berlin is the capital of Germany.",
    ]
    body = {"query": "What is the capital of France?", "documents": documents}
    results = http.post("/v1/rerank", json=body).json()["results"]
    assert results[0]["index"] == 1
    assert {result["index"] for result in results} == {0, 1, 2, 3}
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)


def test_the_older_interfaces_answer_the_same(http: httpx.Client):
    prompt, params = "What is 2+2?", {"temperature": 0, "max_tokens": 40}
    expected = ask(http, CHAT, prompt, max_tokens=40)
    infer = http.post("/v1/infer", json={"model": CHAT, "prompt": prompt, "params": {**params, "max_new_tokens": 40}})
    assert infer.json()["output"] == expected
    assert infer.json()["usage"]["completion_tokens"] > 0
    chat = http.post("/api/inference/chat", json={"model": CHAT, "message": prompt, **params})
    assert (chat.json()["response"], chat.json()["finish_reason"]) == (expected, "stop")
    wrapped = http.post("/chat", json={"request": {"model": CHAT, "message": prompt, **params}})
    assert wrapped.json() == {"content": expected}
    streamed = http.post("/v1/infer/stream", json={"model": CHAT, "prompt": prompt, "params": params})
    events = [json.loads(line.removeprefix("data: ")) for line in streamed.text.split("\n\n") if line]
    assert "".join(event.get("delta", "") for event in events) == expected
    assert events[-1]["done"]
    assert events[-1]["usage"]["completion_tokens"] == infer.json()["usage"]["completion_tokens"]
    texts = ["a cat", "a dog"]
    standard = http.post("/v1/embeddings", json={"model": EMBEDDER, "input": texts}).json()
    embedded = http.post("/embed", json={"request": {"texts": texts}}).json()["embeddings"]
    assert [math.dist(a, b["embedding"]) < 1e-3 for a, b in zip(embedded, standard["data"], strict=True)] == [
        True,
        True,
    ]
    ranked = http.post("/rerank", json={"request": {"query": "a cat", "docs": ["a lion", "a stone"]}}).json()
    assert [each["index"] for each in ranked["results"]] == [0, 1]


def test_vllm_tells_its_own_metrics_of_each_replica(http: httpx.Client):
    ask(http, CHAT, "hello")
    reply = http.get("/metrics/engines")
    assert reply.status_code == 200, reply.text
    prompts = [line for line in reply.text.splitlines() if line.startswith("vllm:prompt_tokens_total{")]
    assert any(f'model="{CHAT}"' in line and float(line.rpartition(" ")[2]) > 0 for line in prompts), prompts
