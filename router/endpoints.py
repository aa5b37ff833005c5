"""The inference endpoints: which path, which task a model needs for it, which default it has."""

from __future__ import annotations

from typing import Literal, NamedTuple

from catalog.models import Task


class Endpoint(NamedTuple):
    """`path` is what clients call (also without `/v1`), `engine_path` what vLLM's server calls the same.

    `needs_model` says that vLLM refuses a body that names no model there.
    """

    path: str
    engine_path: str
    task: Task | None
    default: Literal["chat", "embeddings", "rerank"]
    needs_model: bool = False


ENDPOINTS = (
    Endpoint("/v1/chat/completions", "/v1/chat/completions", Task.GENERATE, "chat"),
    Endpoint("/v1/completions", "/v1/completions", Task.GENERATE, "chat"),
    Endpoint("/v1/responses", "/v1/responses", Task.GENERATE, "chat"),
    Endpoint("/v1/messages", "/v1/messages", Task.GENERATE, "chat", needs_model=True),
    Endpoint("/v1/messages/count_tokens", "/v1/messages/count_tokens", Task.GENERATE, "chat", needs_model=True),
    Endpoint("/v1/embeddings", "/v1/embeddings", Task.EMBED, "embeddings"),
    Endpoint("/v1/rerank", "/v1/rerank", Task.SCORE, "rerank"),
    Endpoint("/v1/score", "/v1/score", Task.SCORE, "rerank"),
    Endpoint("/v1/tokenize", "/tokenize", None, "chat"),
    Endpoint("/v1/detokenize", "/detokenize", None, "chat"),
)
