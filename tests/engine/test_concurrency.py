"""Many requests at once: adapters never mix, streams end well, and clients that leave take their requests with them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import httpx

from tests.engine.chats import ask, chat_body, closest, data_of, likeness, stream_text
from tests.engine_server import CHAT, EMBEDDER, FORMAL, PIRATE
from tests.server import RunningServer

VOICES = (CHAT, PIRATE, FORMAL)
PROMPTS = ["What is 2+2?", "What is the capital of France?", "Tell me a joke."]
NUM_EACH = 30
ESSAY = "Write a long essay about the sea."
LEFT_TIMEOUT_S = 15.0


def client(server: RunningServer) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits)


async def streamed(http: httpx.AsyncClient, model: str, prompt: str, **fields: object) -> tuple[str, str]:
    """The text of a stream and its last line; the stream must come to its proper end."""
    lines = []
    async with http.stream(
        "POST", "/v1/chat/completions", json=chat_body(model, prompt, stream=True, **fields)
    ) as reply:
        assert reply.status_code == 200
        async for line in reply.aiter_lines():
            if line:
                lines.append(line)
    return stream_text(data_of(lines)), lines[-1]


async def test_base_and_adapters_at_once_never_mix(engine_server: RunningServer, http: httpx.Client):
    alone = {prompt: {voice: ask(http, voice, prompt) for voice in VOICES} for prompt in PROMPTS}
    wishes = [(voice, PROMPTS[number % len(PROMPTS)]) for number in range(NUM_EACH) for voice in VOICES]

    async def one(many: httpx.AsyncClient, number: int, voice: str, prompt: str) -> str:
        if number % 2:
            text, last = await streamed(many, voice, prompt)
            assert last == "data: [DONE]"
            return text
        reply = await many.post("/v1/chat/completions", json=chat_body(voice, prompt))
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == voice
        return reply.json()["choices"][0]["message"]["content"]

    async with client(engine_server) as many:
        texts = await asyncio.gather(*(one(many, number, *wish) for number, wish in enumerate(wishes)))
    assert len(texts) == 3 * NUM_EACH
    for (voice, prompt), text in zip(wishes, texts, strict=True):
        assert closest(text, alone[prompt]) == voice, (voice, text)
    same = [text == alone[prompt][voice] for (voice, prompt), text in zip(wishes, texts, strict=True)]
    print(f"\n{sum(same)} of {len(same)} answers are equal to those given alone")


async def test_32_streams_at_once_end_without_an_error(engine_server: RunningServer, http: httpx.Client):
    prompts = [f"What is {number}+{number}?" for number in range(32)]
    begun_s = time.perf_counter()
    async with client(engine_server) as many:
        ended = await asyncio.gather(*(streamed(many, CHAT, prompt) for prompt in prompts))
    print(f"\n32 streams took {time.perf_counter() - begun_s:.2f} s")
    assert all(text.strip() and last == "data: [DONE]" for text, last in ended)
    for prompt, (text, _) in list(zip(prompts, ended, strict=True))[::8]:
        assert likeness(text, ask(http, CHAT, prompt)) > 0.5


async def test_32_long_streams_at_once_give_every_token(engine_server: RunningServer):
    async with client(engine_server) as many:
        ended = await asyncio.gather(
            *(streamed(many, CHAT, ESSAY, max_tokens=100, ignore_eos=True, temperature=1) for _ in range(32))
        )
    assert all(text and last == "data: [DONE]" for text, last in ended)


async def test_embeddings_and_chat_at_once(engine_server: RunningServer):
    async with client(engine_server) as many:
        replies = await asyncio.gather(
            *(many.post("/v1/embeddings", json={"model": EMBEDDER, "input": f"text {n}"}) for n in range(64)),
            *(many.post("/v1/chat/completions", json=chat_body(CHAT, "Hello", max_tokens=10)) for _ in range(32)),
        )
    assert {reply.status_code for reply in replies} == {200}


# Clients that leave


async def open_stream(server: RunningServer, model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a very long generation has been asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps(chat_body(model, ESSAY, stream=True, max_tokens=1800, ignore_eos=True, temperature=1)).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        + f"content-length: {len(body)}\r\n\r\n".encode()
    )
    # In two packets, as the usual clients send a request.
    await asyncio.sleep(0.01)
    writer.write(body)
    await writer.drain()
    return reader, writer


async def read_a_token(reader: asyncio.StreamReader) -> None:
    while b'"content":"' not in await reader.readline():
        assert not reader.at_eof()


async def ongoing(http: httpx.AsyncClient, model: str) -> int:
    """Requests in the model's engines and in the queue for them, as its status shows them."""
    variants = (await http.get("/v1/status")).json()["variants"]
    counts = ("num_running", "num_waiting", "num_queued")
    return sum(each[count] for each in variants if each["model"] == model for count in counts)


async def wait_for_ongoing(http: httpx.AsyncClient, model: str, low: int, high: int, timeout_s: float) -> float:
    begun_s = time.perf_counter()
    while not low <= (number := await ongoing(http, model)) <= high:
        took_s = time.perf_counter() - begun_s
        assert took_s < timeout_s, f"after {timeout_s} s {number} requests are in the engine, not {low} to {high}"
        await asyncio.sleep(0.05)
    return time.perf_counter() - begun_s


async def test_200_clients_that_leave_leave_nothing_running(engine_server: RunningServer):
    async with client(engine_server) as http:
        streams = await asyncio.gather(*(open_stream(engine_server, (CHAT, PIRATE)[n % 2]) for n in range(200)))
        # 64 run at once; the others wait for them in the gateway.
        first_tokens = [asyncio.create_task(read_a_token(reader)) for reader, _ in streams]
        await asyncio.wait(first_tokens, return_when=asyncio.FIRST_COMPLETED)
        await wait_for_ongoing(http, CHAT, 200, 200, timeout_s=60)
        for task in first_tokens:
            task.cancel()
        for _, writer in streams:
            writer.close()
        took_s = await wait_for_ongoing(http, CHAT, 0, 0, timeout_s=30)
        print(f"\n200 clients left; nothing ran {took_s:.2f} s later")
        # A tenth of what they would have gone on for; on a quiet machine it is a second at most.
        assert took_s < LEFT_TIMEOUT_S
        reply = await http.post("/v1/chat/completions", json=chat_body(CHAT, "Hello", max_tokens=3))
        assert reply.status_code == 200


async def test_a_client_that_leaves_before_the_first_token_ends_its_request(engine_server: RunningServer):
    async with client(engine_server) as http:
        body = chat_body(CHAT, ESSAY, max_tokens=1800, ignore_eos=True)
        whole = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        try:
            await wait_for_ongoing(http, CHAT, 1, 1, timeout_s=10)
        except AssertionError as error:
            answer = whole.result().text if whole.done() else "none yet"
            raise AssertionError(f"{error}; answer: {answer[:300]}; {engine_server.status(CHAT)}") from None
        whole.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await whole
        assert await wait_for_ongoing(http, CHAT, 0, 0, timeout_s=30) < LEFT_TIMEOUT_S
