"""What a user of the load test does, for Locust; `run.py` starts it.

Chats are streams, each with a figure of its own for the time to the first token, and one that breaks off or ends
without `[DONE]` has failed. A user sends its next request when it has the answer to its last one.
"""

from __future__ import annotations

import json
import os
import random
import time

from locust import HttpUser, between, task

CHAT_MODEL = os.environ.get("LOADTEST_CHAT_MODEL", "")
EMBEDDING_MODEL = os.environ.get("LOADTEST_EMBEDDING_MODEL", "")
MAX_TOKENS = int(os.environ.get("LOADTEST_MAX_TOKENS", "64"))
QUESTIONS = ("What is 2+2?", "What is the capital of France?", "Write a short story.", "Count to ten.")
TIMEOUT_S = 120


class Client(HttpUser):
    """Four chats to one call for embeddings."""

    wait_time = between(0, 0.2)

    def on_start(self) -> None:
        """Send the key with every request, where there is one."""
        if key := os.environ.get("RAYMUX_API_KEY"):
            self.client.headers["Authorization"] = f"Bearer {key}"

    @task(4)
    def chat(self) -> None:
        """A chat as a stream."""
        body = {
            **({"model": CHAT_MODEL} if CHAT_MODEL else {}),
            "messages": [{"role": "user", "content": random.choice(QUESTIONS)}],
            "max_tokens": MAX_TOKENS,
            "stream": True,
        }
        begun_s = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions", json=body, stream=True, catch_response=True, name="chat", timeout=TIMEOUT_S
        ) as reply:
            if reply.status_code != 200:
                reply.failure(f"{reply.status_code} {_code(reply.text)}")
                return
            first_token_ms, fault = None, "the stream ended without [DONE]"
            for line in reply.iter_lines(chunk_size=None):
                if first_token_ms is None and _has_content(line):
                    first_token_ms = (time.perf_counter() - begun_s) * 1000
                if line.startswith(b'data: {"error"'):
                    fault = _code(line.removeprefix(b"data: "))
                if line == b"data: [DONE]":
                    fault = ""
            # Locust's own figure would be that of the headers.
            reply.request_meta["response_time"] = (time.perf_counter() - begun_s) * 1000
            if fault:
                reply.failure(fault)
            if first_token_ms is not None:
                self.environment.events.request.fire(
                    request_type="TTFT",
                    name="chat, first token",
                    response_time=first_token_ms,
                    response_length=0,
                    exception=None,
                    context={},
                )

    @task(1)
    def embed(self) -> None:
        """Two texts as vectors."""
        body = {
            **({"model": EMBEDDING_MODEL} if EMBEDDING_MODEL else {}),
            "input": [random.choice(QUESTIONS), "one text"],
        }
        with self.client.post(
            "/v1/embeddings", json=body, catch_response=True, name="embeddings", timeout=TIMEOUT_S
        ) as reply:
            if reply.status_code != 200:
                reply.failure(f"{reply.status_code} {_code(reply.text)}")
            elif len(reply.json()["data"]) != 2:
                reply.failure("not one vector for each text")


def _has_content(line: bytes) -> bool:
    """Whether an event of a chat has text; the first one has the role only."""
    try:
        return bool(json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"].get("content"))
    except (ValueError, KeyError, IndexError, TypeError):
        return False


def _code(body: str | bytes) -> str:
    """The code of an error in raymux's shape."""
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "not raymux's error shape"
