"""The emulated engine: paced and deterministic, with the interface of an engine's OpenAI server.

For tests and benchmarks of everything around an engine. It knows no language: each token is the next of a fixed list
of words. A model uses it only where its configuration says `engine: {kind: emulated}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from catalog.errors import InvalidRequest
from catalog.models import EmulatedEngine
from catalog.replicas import StartStep
from deployments.engine.base import EngineLoad, current_tokens
from deployments.engine.emulated_prefill import EmulatedPrefill

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DEFAULT_MAX_TOKENS = 16
EMBEDDING_WIDTH = 8


class EmulatedEngineServer:
    """An engine that costs no GPU, no weights and almost no CPU."""

    def __init__(self, settings: EmulatedEngine, served_name: str) -> None:
        self._settings = settings
        self._served_name = served_name
        self._adapters: set[str] = set()
        self._running = 0
        self._prefill = EmulatedPrefill(settings.prefill_tokens_per_s, settings.prefix_cache_tokens)
        self._alive = False
        self._is_asleep = False
        self._app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._completion, methods=["POST"]),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            ]
        )

    @property
    def app(self) -> ASGIApp:
        return self._app

    async def start(self, on_step: Callable[[StartStep], None]) -> None:
        on_step(StartStep.LOADING)
        self._note("waking")
        await asyncio.sleep(self._settings.start_s)
        if self._settings.fail_start:
            raise RuntimeError(self._settings.fail_start)
        self._alive = True
        self._note("awake")

    async def load_adapter(self, names: tuple[str, ...], path: str) -> None:
        self._adapters.update(names)

    async def unload_adapter(self, names: tuple[str, ...]) -> None:
        self._adapters.difference_update(names)

    async def sleep(self) -> None:
        if self._running:
            raise RuntimeError("put to sleep while requests run")
        self._is_asleep = True
        await asyncio.sleep(self._settings.sleep_s)
        self._note("asleep")

    async def wake(self) -> None:
        self._note("waking")
        await asyncio.sleep(self._settings.wake_s)
        self._is_asleep = False
        self._note("awake")

    def _note(self, event: str) -> None:
        """Append to the journal, from which tests tell that engines took turns."""
        if not self._settings.journal:
            return
        entry = {"at_s": time.time(), "model": self._served_name, "pid": os.getpid(), "event": event}
        with (Path(tempfile.gettempdir()) / self._settings.journal).open("a") as journal:
            journal.write(json.dumps(entry) + "\n")

    def load(self) -> EngineLoad:
        waiting = self._prefill.num_waiting
        return EngineLoad(self._running - waiting, waiting, kv_capacity_tokens=self._settings.prefix_cache_tokens)

    def is_alive(self) -> bool:
        return self._alive

    async def stop(self) -> None:
        self._alive = False

    async def _chat(self, request: Request) -> Response:
        return await self._reply(
            request,
            "chat.completion",
            whole=lambda text: {"message": {"role": "assistant", "content": text}},
            part=lambda text: {"delta": {"role": "assistant", "content": text}},
        )

    async def _completion(self, request: Request) -> Response:
        return await self._reply(
            request, "text_completion", whole=lambda text: {"text": text}, part=lambda text: {"text": text}
        )

    async def _embeddings(self, request: Request) -> Response:
        body = await request.json()
        if body.get("input") is None:
            return JSONResponse(InvalidRequest("input is required", param="input").body(), 400)
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": [float(len(str(text)))] * EMBEDDING_WIDTH}
            for index, text in enumerate(inputs)
        ]
        usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
        return JSONResponse({"object": "list", "data": data, "model": self._served_name, "usage": usage})

    async def _reply(
        self, request: Request, kind: str, whole: Callable[[str], dict], part: Callable[[str], dict]
    ) -> Response:
        if self._is_asleep:
            raise RuntimeError("a request reached an engine that is asleep")
        body = await request.json()
        num_tokens = body.get("max_tokens") or body.get("max_completion_tokens") or DEFAULT_MAX_TOKENS
        if not isinstance(num_tokens, int) or num_tokens < 1:
            return JSONResponse(InvalidRequest("max_tokens must be at least 1", param="max_tokens").body(), 400)
        options = body.get("stream_options") or {}
        if not isinstance(options, dict):
            return JSONResponse(InvalidRequest("stream_options must be an object", param="stream_options").body(), 400)
        model = body.get("model") or self._served_name
        prompt = json.dumps(body.get("messages") or body.get("prompt") or "").split()
        head = {"id": f"emulated-{time.time_ns():x}", "created": int(time.time()), "model": model}
        usage: dict[str, Any] = {
            "prompt_tokens": len(prompt), "completion_tokens": num_tokens, "total_tokens": len(prompt) + num_tokens,
        }  # fmt: skip
        words = self._words(num_tokens, model, prompt, usage)
        if body.get("stream"):
            head["object"] = "chat.completion.chunk" if kind == "chat.completion" else kind
            told_usage = usage if options.get("include_usage") else None
            events = self._events(head, part, num_tokens, words, told_usage)
            return StreamingResponse(events, media_type="text/event-stream")
        async with aclosing(words):
            text = "".join([word async for word in words])
        choice: dict[str, Any] = {"index": 0, **whole(text), "logprobs": None, "finish_reason": "length"}
        return JSONResponse({**head, "object": kind, "choices": [choice], "usage": usage})

    async def _events(
        self, head: dict, part: Callable[[str], dict], num_tokens: int, words: AsyncGenerator[str], usage: dict | None
    ) -> AsyncIterator[bytes]:
        left = num_tokens
        async with aclosing(words):
            async for word in words:
                left -= 1
                choice = {"index": 0, **part(word), "finish_reason": None if left else "length"}
                yield _event({**head, "choices": [choice]})
        if usage is not None:
            yield _event({**head, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    async def _words(self, num_tokens: int, model: str, prompt: list[str], usage: dict) -> AsyncGenerator[str]:
        """The tokens, each at its time: late ones are not followed by later ones still.

        Before the first one `usage` gets what of the prompt was in the cache, if there is one.
        """
        count = current_tokens.get()
        if count is not None:
            count.prompt_tokens = len(prompt)
        loop = asyncio.get_running_loop()
        self._running += 1
        try:
            if self._prefill.is_emulated:
                cached_tokens = await self._prefill.compute(model, prompt)
                usage["prompt_tokens_details"] = {"cached_tokens": cached_tokens}
                if count is not None:
                    count.cached_tokens = cached_tokens
            due_s = loop.time() + self._settings.prefill_ms / 1000
            for index in range(num_tokens):
                due_s += self._settings.token_interval_ms / 1000
                if (wait_s := due_s - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                if count is not None:
                    count.completion_tokens += 1
                yield WORDS[index % len(WORDS)] + " "
        finally:
            self._running -= 1


def _event(data: dict) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
