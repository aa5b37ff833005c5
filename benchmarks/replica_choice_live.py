"""The live part of the benchmark of replica choice: conversations with four emulated replicas behind raymux.

Each client holds one conversation after the other, and sends a turn when it has read the answer to the one before. The
engines compute a prompt's words at a set speed, one prompt after the other, and keep what they have computed.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import aiohttp
import numpy as np

from benchmarks.servers import Server, raymux

CONFIG = Path(__file__).parent / "configs" / "talks.yaml"
MODEL, NUM_REPLICAS = "talks", 4
NUM_CLIENTS, NUM_CONVERSATIONS, NUM_TURNS, WORDS_A_TURN = 16, 2, 8, 500
CHOICES = ("least_load", "first_token")
SCALE_TIMEOUT_S = 60
PROBE = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}


class Answer(NamedTuple):
    """One turn's: seconds to its first event, tokens of the prompt, and those of them that were in a cache."""

    ttft_s: float
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class LiveSample:
    """All answers with one way to choose."""

    choice: str
    num_replicas: int
    num_requests: int
    mean_s: float
    p99_s: float
    cached_ratio: float


def measure(choice: str, port: int) -> LiveSample:
    """Start a server that chooses so, and hold the conversations.

    Raises ServerFailed, or TimeoutError when the model does not get its replicas.
    """

    def choose_so(document: dict[str, Any]) -> None:
        document["applications"][0]["deployments"][0]["user_config"]["replica_choice"] = choice

    with raymux(port, config=CONFIG, probe=PROBE, edit=choose_so) as server:
        answers, num_replicas = asyncio.run(_talk(server))
    ttfts_s = [answer.ttft_s for answer in answers]
    return LiveSample(
        choice,
        num_replicas,
        len(answers),
        mean_s=mean(ttfts_s),
        p99_s=float(np.percentile(ttfts_s, 99)),
        cached_ratio=sum(answer.cached_tokens for answer in answers) / sum(answer.prompt_tokens for answer in answers),
    )


def live_table(samples: list[LiveSample]) -> str:
    """A row for each way to choose; ratios are of mean TTFTs, over the first row's."""
    lines = [
        "| Choice | requests | mean TTFT, ms | p99, ms | cached | of the first |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for sample in samples:
        cells = [sample.choice, str(sample.num_requests), f"{sample.mean_s * 1000:.0f}", f"{sample.p99_s * 1000:.0f}"]
        cells += [f"{sample.cached_ratio:.1%}", f"{sample.mean_s / samples[0].mean_s:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


async def _talk(server: Server) -> tuple[list[Answer], int]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _scale_up(server, session)
        talks = await asyncio.gather(*[_conversations(server, session, client) for client in range(NUM_CLIENTS)])
        return [answer for answers in talks for answer in answers], await _num_ready(server, session)


async def _scale_up(server: Server, session: aiohttp.ClientSession) -> None:
    """More requests than the replicas should have, until all of these are there."""
    stop = asyncio.Event()
    words = {"model": MODEL, "messages": [{"role": "user", "content": "more"}], "max_tokens": 20, "stream": True}

    async def press() -> None:
        while not stop.is_set():
            async with session.post(server.url, json=words) as reply:
                await reply.read()

    pressing = [asyncio.create_task(press()) for _ in range(NUM_REPLICAS * 8 + 8)]
    try:
        async with asyncio.timeout(SCALE_TIMEOUT_S):
            while await _num_ready(server, session) < NUM_REPLICAS:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        stop.set()
        await asyncio.gather(*pressing)


async def _num_ready(server: Server, session: aiohttp.ClientSession) -> int:
    async with session.get(f"{server.base_url}/v1/status") as reply:
        (variant,) = (await reply.json())["variants"]
    return sum(replica["state"] == "ready" for replica in variant["replicas"])


async def _conversations(server: Server, session: aiohttp.ClientSession, client: int) -> list[Answer]:
    answers = []
    for number in range(NUM_CONVERSATIONS):
        messages: list[dict[str, str]] = []
        for turn in range(NUM_TURNS):
            text = " ".join(f"{client}.{number}.{turn}.{word}" for word in range(WORDS_A_TURN))
            messages += [{"role": "user", "content": text}]
            answers.append(await _answer(server, session, messages))
            messages += [{"role": "assistant", "content": "one two three "}]
    return answers


async def _answer(server: Server, session: aiohttp.ClientSession, messages: list[dict[str, str]]) -> Answer:
    body = {
        "model": MODEL, "messages": messages, "max_tokens": 16, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    begun_s, ttft_s, usage = time.perf_counter(), 0.0, {}
    async with session.post(server.url, json=body) as reply:
        reply.raise_for_status()
        async for line in reply.content:
            ttft_s = ttft_s or time.perf_counter() - begun_s
            if b'"usage"' in line:
                usage = json.loads(line[6:])["usage"]
    return Answer(ttft_s, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"])
