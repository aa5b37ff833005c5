"""An outside provider that misbehaves: a real HTTP server with OpenAI's API, and a path for each way to fail."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from concurrent.futures import Future
from enum import StrEnum
from typing import Any

from aiohttp import web

from deployments.engine.emulator import WORDS

KEY_VARIABLE = "FAULTY_API_KEY"
TOKEN_INTERVAL_S = 0.02
# So many words come before a stream breaks.
WORDS_BEFORE = 5


class Fault(StrEnum):
    """What a provider may do in the place of an answer; those `midway` after some words of a stream."""

    RATE_LIMIT = "429"
    SERVER_ERROR = "500"
    HANGS = "hangs before headers"
    HANGS_MIDWAY = "hangs mid-stream"
    RESETS = "resets before headers"
    RESETS_MIDWAY = "resets mid-stream"
    ENDS_MIDWAY = "ends mid-stream without [DONE]"
    GARBAGE = "no SSE at all"
    GARBAGE_MIDWAY = "invalid SSE mid-stream"
    ERROR_BODY = "200 with an error body"
    ERROR_MIDWAY = "an error event mid-stream"

    @property
    def slug(self) -> str:
        """Its name as a provider's, and in a path."""
        return self.name.lower().replace("_", "-")

    @property
    def is_midway(self) -> bool:
        return self.name.endswith("MIDWAY")


class FaultyProvider:
    """A context manager around the server. `broken` are the faults that show; the others' paths answer well."""

    def __init__(self) -> None:
        self.port = 0
        self.broken: set[Fault] = set()
        self.num_answered: Counter[Fault] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider")

    def __enter__(self) -> FaultyProvider:
        self._thread.start()
        self._call(self._start()).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/{slug}/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def settings(self, fallback: str) -> list[dict[str, Any]]:
        """A provider for each fault, as the configuration has it; `fallback` answers in its place."""
        return [
            {
                "name": fault.slug,
                "base_url": f"http://127.0.0.1:{self.port}/{fault.slug}/v1",
                "api_key_env": KEY_VARIABLE,
                "first_byte_timeout_s": 1,
                "idle_timeout_s": 1,
                "max_retries": 1,
                "models": [{"name": "model", "fallbacks": [fallback]}],
            }
            for fault in Fault
        ]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        fault = next(each for each in Fault if each.slug == request.match_info["slug"])
        question = await request.json()
        if fault in self.broken and (not fault.is_midway or not question.get("stream")):
            return await self._at_once(fault, request)
        if not question.get("stream"):
            await asyncio.sleep(TOKEN_INTERVAL_S * question["max_tokens"])
            self.num_answered[fault] += 1
            return web.json_response(_whole(question["max_tokens"]))
        return await self._stream(fault, request, question["max_tokens"])

    async def _at_once(self, fault: Fault, request: web.Request) -> web.StreamResponse:
        """In the place of a reply's beginning."""
        match fault:
            case Fault.RATE_LIMIT:
                return web.json_response(_error("slow down"), status=429, headers={"retry-after": "1"})
            case Fault.HANGS | Fault.HANGS_MIDWAY:
                await asyncio.sleep(3600)
            case Fault.RESETS | Fault.RESETS_MIDWAY | Fault.ENDS_MIDWAY:
                assert request.transport is not None
                request.transport.abort()
            case Fault.GARBAGE | Fault.GARBAGE_MIDWAY:
                return web.Response(body=b"\xff\xfe<html>\n\nnobody: expected\n\n", content_type="text/event-stream")
            case Fault.ERROR_BODY | Fault.ERROR_MIDWAY:
                return web.json_response(_error("an error that says 200"))
        return web.json_response(_error("it broke"), status=500)

    async def _stream(self, fault: Fault, request: web.Request, num_tokens: int) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        for index in range(num_tokens):
            if index == WORDS_BEFORE and fault.is_midway and fault in self.broken:
                await self._break(fault, request, reply)
                return reply
            await asyncio.sleep(TOKEN_INTERVAL_S)
            await reply.write(_event({"delta": {"content": WORDS[index % len(WORDS)] + " "}, "finish_reason": None}))
        await reply.write(_event({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n")
        self.num_answered[fault] += 1
        return reply

    async def _break(self, fault: Fault, request: web.Request, reply: web.StreamResponse) -> None:
        match fault:
            case Fault.HANGS_MIDWAY:
                await asyncio.sleep(3600)
            case Fault.RESETS_MIDWAY:
                assert request.transport is not None
                request.transport.abort()
            case Fault.GARBAGE_MIDWAY:
                await reply.write(b'data: {"choices": [{"delta": \n\ndata: \xff\xfe\n\n')
                await asyncio.sleep(1)
            case Fault.ERROR_MIDWAY:
                await reply.write(b"data: " + json.dumps(_error("it broke midway")).encode() + b"\n\n")


def _event(choice: dict[str, Any]) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "model"}
    return b"data: " + json.dumps({**chunk, "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def _whole(num_tokens: int) -> dict[str, Any]:
    text = "".join(WORDS[index % len(WORDS)] + " " for index in range(num_tokens))
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": num_tokens, "total_tokens": num_tokens + 1}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "model", "choices": [choice], "usage": usage,
    }  # fmt: skip


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
