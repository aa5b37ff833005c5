"""The requests of the short forms, for both clients and the command line, which does without the openai package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

# Where a request may wait for its model to start.
INFERENCE_PATHS = frozenset(
    f"/{name}" for name in ("chat/completions", "completions", "responses", "embeddings", "rerank", "score")
)
WARMUP_LOOK_EVERY_S = 0.5

Messages = str | Iterable[Mapping[str, Any]]


def chat_body(messages: Messages, model: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request. A plain text is a user's message; without a model the server's default answers."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return {**_named(model), "messages": [dict(message) for message in messages], **parameters}


def embeddings_body(texts: str | Sequence[str], model: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {**_named(model), "input": [texts] if isinstance(texts, str) else list(texts), **parameters}


def rerank_body(
    query: str, docs: Sequence[str], model: str | None, top_n: int | None, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    wanted = {} if top_n is None else {"top_n": top_n}
    return {**_named(model), "query": query, "documents": list(docs), **wanted, **parameters}


def warmup_body(model: str, gpu: str | Sequence[str] | None, keep_warm_s: float) -> dict[str, Any]:
    preference = {} if gpu is None else {"gpu_preference": gpu if isinstance(gpu, str) else list(gpu)}
    return {"model": model, "keep_warm_s": keep_warm_s, **preference}


def model_path(model: str, verb: str = "") -> str:
    """The path of a model; ids hold slashes and colons, which the server takes as they are."""
    return f"/models/{quote(model, safe='/:')}" + (f"/{verb}" if verb else "")


def may_wait(method: str, url: str) -> bool:
    """Whether a request may wait for a model to start."""
    return method.lower() == "post" and url in INFERENCE_PATHS


def model_in(body: Any) -> str | None:
    """The model that a request's body names."""
    return body.get("model") if isinstance(body, Mapping) else None


def _named(model: str | None) -> dict[str, Any]:
    return {} if model is None else {"model": model}
