"""The interfaces that came before OpenAI's: their requests as OpenAI's, and OpenAI's replies as theirs.

    path                    request                               reply
    /v1/infer               {model, prompt, params}               {id, model, output, usage, latency_ms, cached}
    /v1/infer/stream        the same                              {delta} events, then {done: true, usage}
    /api/inference/chat     {model, message, system, ...}         {model, response, finish_reason, usage, latency_ms}
    /embed, /chat, /rerank  {request: {...}}                      {embeddings}, {content}, {results}

What is not translated (sampling parameters, `gpu_preference`) is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from catalog.errors import InvalidRequest

Body = dict[str, Any]


class Form(NamedTuple):
    """One older form: the endpoint that answers it, and both translations.

    `reply` gets the endpoint's reply, the milliseconds it took, and whether it came from the cache.
    """

    endpoint: str
    request: Callable[[Body], Body]
    reply: Callable[[Body, float, bool], Body]


def infer_request(body: Body, *, stream: bool = False) -> Body:
    """A prompt is a user's message; `params` hold the sampling parameters. Raises InvalidRequest."""
    rest = _without(body, "prompt", "params", "stream")
    params = body.get("params")
    if params is not None and not isinstance(params, dict):
        raise InvalidRequest("params must be an object.", param="params")
    params = dict(params or {})
    if "max_new_tokens" in params:
        params["max_tokens"] = params.pop("max_new_tokens")
    taken = sorted({"messages", "model", "prompt", "stream", "stream_options"} & params.keys())
    if taken:
        raise InvalidRequest(f"params.{taken[0]} is not a sampling parameter.", param=f"params.{taken[0]}")
    chat = {**rest, **params, "messages": [_user(_text(body, "prompt"))]}
    return {**chat, "stream": True, "stream_options": {"include_usage": True}} if stream else chat


def infer_reply(reply: Body, latency_ms: float, is_cached: bool) -> Body:
    return {
        "id": reply.get("id"),
        "model": reply.get("model"),
        "output": _content(reply),
        "usage": reply.get("usage"),
        "latency_ms": round(latency_ms, 1),
        "cached": is_cached,
    }


def chat_request(body: Body) -> Body:
    """`message` is the user's, `system` an instruction before it. Raises InvalidRequest."""
    messages = [_user(_text(body, "message"))]
    if body.get("system") is not None:
        messages.insert(0, {"role": "system", "content": _text(body, "system")})
    return {**_without(body, "message", "system", "stream"), "messages": messages}


def chat_reply(reply: Body, latency_ms: float, is_cached: bool) -> Body:
    choice = _choice(reply)
    return {
        "model": reply.get("model"),
        "response": _content(reply),
        "finish_reason": choice.get("finish_reason"),
        "usage": reply.get("usage"),
        "latency_ms": round(latency_ms, 1),
    }


def wrapped_embed_request(body: Body) -> Body:
    """`texts`, `text` or `input`. Raises InvalidRequest."""
    request = _unwrapped(body)
    name = _one_of(request, "texts", "text", "input")
    return {**_without(request, name), "input": request[name]}


def wrapped_embed_reply(reply: Body, latency_ms: float, is_cached: bool) -> Body:
    return {"embeddings": [entry.get("embedding") for entry in reply.get("data", ())]}


def wrapped_chat_request(body: Body) -> Body:
    """`messages`, or a single `message`. Raises InvalidRequest."""
    request = _unwrapped(body)
    if _one_of(request, "messages", "message") == "message":
        return chat_request(request)
    return _without(request, "stream")


def wrapped_chat_reply(reply: Body, latency_ms: float, is_cached: bool) -> Body:
    return {"content": _content(reply)}


def wrapped_rerank_request(body: Body) -> Body:
    """`query` and `documents`, also called `docs`. Raises InvalidRequest."""
    request = _unwrapped(body)
    name = _one_of(request, "documents", "docs")
    return {**_without(request, name), "documents": request[name]}


def wrapped_rerank_reply(reply: Body, latency_ms: float, is_cached: bool) -> Body:
    return {"results": reply.get("results")}


def is_wrapped(body: Body) -> bool:
    """Whether a body is an older one: `request` is its only field."""
    return set(body) == {"request"}


def infer_event(event: Body) -> Body | None:
    """What an event of a stream becomes: None for one without text."""
    if "error" in event:
        return event
    if event.get("usage") and not event.get("choices"):
        return {"done": True, "usage": event["usage"]}
    text = (_choice(event).get("delta") or {}).get("content")
    return {"delta": text} if text else None


INFER = Form("/v1/chat/completions", infer_request, infer_reply)
CHAT = Form("/v1/chat/completions", chat_request, chat_reply)
WRAPPED_EMBED = Form("/v1/embeddings", wrapped_embed_request, wrapped_embed_reply)
WRAPPED_CHAT = Form("/v1/chat/completions", wrapped_chat_request, wrapped_chat_reply)
WRAPPED_RERANK = Form("/v1/rerank", wrapped_rerank_request, wrapped_rerank_reply)


def _unwrapped(body: Body) -> Body:
    request = body.get("request")
    if not isinstance(request, dict) or not is_wrapped(body):
        raise InvalidRequest("request must be an object, and the only field of the body.", param="request")
    return request


def _one_of(body: Body, *names: str) -> str:
    given = [name for name in names if body.get(name) is not None]
    if len(given) != 1:
        raise InvalidRequest(f"Give exactly one of {', '.join(names)}.", param=names[0])
    return given[0]


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name} must be a non-empty string.", param=name)
    return value


def _user(text: str) -> Body:
    return {"role": "user", "content": text}


def _without(body: Mapping[str, Any], *names: str) -> Body:
    return {name: value for name, value in body.items() if name not in names}


def _choice(reply: Body) -> Body:
    choices = reply.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _content(reply: Body) -> str:
    return (_choice(reply).get("message") or {}).get("content") or ""
