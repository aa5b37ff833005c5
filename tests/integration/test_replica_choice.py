"""Conversations with a model of several replicas, whose emulated engines keep the prompts that they have computed."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from typing import Any

from deployments.engine.emulated_prefill import BLOCK_TOKENS
from tests.integration.calls import CLIENT, chat, lines
from tests.server import RunningServer, wait_until

MODEL = "talks"
# Replicas that take turns would never have what a turn of an odd number of conversations needs.
NUM_CONVERSATIONS, NUM_TURNS = 5, 4
WORDS_A_TURN = 300


def replicas(server: RunningServer) -> list[dict[str, Any]]:
    return [each for each in server.status(MODEL)["replicas"] if each["state"] == "ready"]


def scale_up(server: RunningServer) -> None:
    """Have two replicas, by more streams than one should have."""
    has_enough = threading.Event()

    def stream() -> None:
        with closing(lines(server, MODEL, max_tokens=4000)) as events:
            for _ in events:
                if has_enough.is_set():
                    return

    with ExitStack() as stack:
        for _ in range(4):
            thread = threading.Thread(target=stream)
            thread.start()
            stack.callback(thread.join, 30)
        stack.callback(has_enough.set)
        wait_until(lambda: len(replicas(server)) == 2, 40, "two replicas are ready")


def test_a_turn_of_a_conversation_finds_the_turns_before_it_in_the_cache(server: RunningServer) -> None:
    scale_up(server)
    talks: list[list[dict[str, str]]] = [[] for _ in range(NUM_CONVERSATIONS)]
    before = [0] * NUM_CONVERSATIONS
    for turn in range(NUM_TURNS):
        for number, talk in enumerate(talks):
            talk.append(
                {"role": "user", "content": " ".join(f"{number}-{turn}-{word}" for word in range(WORDS_A_TURN))}
            )
            reply = chat(server, MODEL, messages=talk)
            assert reply.status_code == 200, reply.text
            usage = reply.json()["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            assert cached >= before[number] - BLOCK_TOKENS, f"turn {turn} of {number}: {cached} of {before[number]}"
            before[number] = usage["prompt_tokens"]
            talk.append({"role": "assistant", "content": reply.json()["choices"][0]["message"]["content"]})
    expected = [each["expected"] for each in replicas(server)]
    assert all(each["held_prefix_bytes"] > 0 for each in expected), "both replicas have conversations"
    assert all(each["cached_ratio"] > 0.5 for each in expected)


def test_a_stream_of_a_conversation_finds_it_too_and_its_usage_says_so(server: RunningServer) -> None:
    words = " ".join(f"stream-{word}" for word in range(WORDS_A_TURN))
    body = {
        "model": MODEL, "messages": [{"role": "user", "content": words}], "max_tokens": 2, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    replies = [CLIENT.post(f"{server.url}/v1/chat/completions", json=body).text for _ in range(3)]
    assert all(reply.endswith("data: [DONE]\n\n") for reply in replies)
    assert '"cached_tokens":0' in replies[0]
    assert all(f'"cached_tokens":{WORDS_A_TURN // BLOCK_TOKENS * BLOCK_TOKENS}' in reply for reply in replies[1:])
