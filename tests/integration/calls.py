"""Requests that the integration tests send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.server import RunningServer

ADMIN_KEY, USER_KEY, FEW_KEY = "rmx-admin-of-the-tests", "rmx-user-of-the-tests", "rmx-three-a-minute"
WEBHOOK_SECRET = "a secret that senders of webhooks know"
RECEIVER_SECRET = "a secret that receivers of webhooks know"

# One client for all: making one costs more than a request. Its pool has no limit, so that no test waits for another.
CLIENT = httpx.Client(
    limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    timeout=60,
    headers={"authorization": f"Bearer {ADMIN_KEY}"},
)


def body(model: str, max_tokens: int = 5, **more: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": max_tokens, **more}


def chat(server: RunningServer, model: str, max_tokens: int = 5, **more: Any) -> httpx.Response:
    """Send a chat request; `headers` and `timeout` go to the client, the rest into the body."""
    headers, timeout = more.pop("headers", None), more.pop("timeout", 60)
    return CLIENT.post(
        f"{server.url}/v1/chat/completions", json=body(model, max_tokens, **more), headers=headers, timeout=timeout
    )


def lines(server: RunningServer, model: str, max_tokens: int = 5, **headers: str) -> Iterator[str]:
    """The lines of a streamed chat request, empty ones left out."""
    request = body(model, max_tokens, stream=True)
    with CLIENT.stream("POST", f"{server.url}/v1/chat/completions", json=request, headers=headers) as reply:
        yield from (line for line in reply.iter_lines() if line)


def text(events: list[str]) -> str:
    """The text of a stream's events."""
    data = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in data if event.get("choices"))


def error(reply: httpx.Response) -> dict[str, Any]:
    """The error of a reply, which must have exactly the one shape."""
    found = reply.json()["error"]
    assert set(found) == {"message", "type", "param", "code", "request_id"}
    assert found["request_id"] == reply.headers["x-request-id"]
    return found
