"""The client library on real models: what the emulated engine cannot answer."""

from __future__ import annotations

from raymux import InferenceClient
from tests.server import RunningServer


def test_chat_embed_and_rerank_answer_with_the_default_models(engine_server: RunningServer) -> None:
    docs = ["Bananas are yellow.", "Paris is the capital of France."]
    with InferenceClient(engine_server.url) as client:
        assert "4" in client.chat("What is 2+2?", temperature=0, max_tokens=20)
        one, other = client.embed(docs)
        assert len(one) == len(other) == 384
        best, worst = client.rerank("capital of France", docs)
        assert (best.index, worst.index) == (1, 0)
        assert best.relevance_score > worst.relevance_score
        assert best.document["text"] == docs[1]
        (only,) = client.rerank("capital of France", docs, top_n=1)
        assert only.index == 1
