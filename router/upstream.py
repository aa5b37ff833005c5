"""What goes to an outside provider: to which of its endpoints, in which form; and when it is tried again."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple

from catalog.errors import InvalidRequest
from catalog.providers import ProviderKind, Upstream
from router.anthropic.chat_requests import chat_to_messages
from router.anthropic.message_requests import messages_to_chat
from router.endpoints import Endpoint

# What only raymux understands.
_OWN_FIELDS = ("gpu_preference",)
# Streams of these endpoints tell their usage when asked to.
_TELLS_USAGE = ("/v1/chat/completions", "/v1/completions")

BACKOFF_S = 0.5
MAX_BACKOFF_S = 8.0


class Form(StrEnum):
    """How a reply becomes the one that the client asked for."""

    SAME = "same"
    CHAT_FROM_MESSAGES = "chat_from_messages"
    MESSAGES_FROM_CHAT = "messages_from_chat"


class Plan(NamedTuple):
    """`path` stands below the provider's base URL, `endpoint` is the one of ours whose form the provider answers in."""

    path: str
    form: Form
    endpoint: str


class Outgoing(NamedTuple):
    """A body for a provider.

    `asked_model` is the name that the client used. `shows_usage` says whether the client asked its stream for the
    usage; where it did not, the provider may have been asked all the same.
    """

    body: bytes
    asked_model: str
    is_stream: bool
    shows_usage: bool


_PLANS = {
    ProviderKind.OPENAI: {
        "/v1/chat/completions": Plan("/chat/completions", Form.SAME, "/v1/chat/completions"),
        "/v1/completions": Plan("/completions", Form.SAME, "/v1/completions"),
        "/v1/responses": Plan("/responses", Form.SAME, "/v1/responses"),
        "/v1/embeddings": Plan("/embeddings", Form.SAME, "/v1/embeddings"),
        "/v1/messages": Plan("/chat/completions", Form.MESSAGES_FROM_CHAT, "/v1/chat/completions"),
    },
    ProviderKind.ANTHROPIC: {
        "/v1/messages": Plan("/messages", Form.SAME, "/v1/messages"),
        "/v1/messages/count_tokens": Plan("/messages/count_tokens", Form.SAME, "/v1/messages/count_tokens"),
        "/v1/chat/completions": Plan("/messages", Form.CHAT_FROM_MESSAGES, "/v1/messages"),
    },
}


def plan(endpoint: Endpoint, upstream: Upstream) -> Plan:
    """Where a request to one of our endpoints goes. Raises InvalidRequest where the provider has nothing like it."""
    plans = _PLANS[upstream.provider.kind]
    found = plans.get(endpoint.path)
    if found is None:
        raise InvalidRequest(
            f"{upstream.provider.name} does not serve {endpoint.path}; for its models there is {', '.join(plans)}.",
            param="model",
        )
    return found


def outgoing(raw: bytes, plan: Plan, upstream: Upstream) -> Outgoing:
    """The body for the provider, of one that `peek` has checked.

    Raises InvalidRequest for what the provider's form cannot say.
    """
    body: dict[str, Any] = json.loads(raw)
    asked_model = body.get("model") or upstream.provider.full_name(upstream.model)
    for field in _OWN_FIELDS:
        body.pop(field, None)
    body["model"] = upstream.model_name
    is_stream = bool(body.get("stream"))
    options = body.get("stream_options")
    shows_usage = isinstance(options, dict) and bool(options.get("include_usage"))
    if plan.form is Form.CHAT_FROM_MESSAGES:
        body = chat_to_messages(body, upstream.model.max_output_tokens)
    elif plan.form is Form.MESSAGES_FROM_CHAT:
        body = messages_to_chat(body, upstream.provider.max_tokens_field)
    if is_stream and plan.endpoint in _TELLS_USAGE and not shows_usage and upstream.provider.asks_for_usage:
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return Outgoing(json.dumps(body).encode(), asked_model, is_stream, shows_usage)


def backoff_s(num_failed: int, retry_after_s: float | None, jitter: float) -> float:
    """Wait before the next attempt after `num_failed` ones (1 or more); `jitter` is from 0 to 1.

    Between half of and a whole exponential step (0.5 s, 1 s, 2 s, at most 8 s), and never less than the provider asks.
    """
    step_s = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** (num_failed - 1))
    return max(step_s * (0.5 + jitter / 2), retry_after_s or 0.0)
