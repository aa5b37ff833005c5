"""The client for asyncio: the official `AsyncOpenAI` client, and what raymux adds to the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import httpx2
from openai import AsyncOpenAI, AsyncStream
from openai._compat import cached_property
from openai.resources.chat import AsyncChat
from openai.resources.models import AsyncModels
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from raymux.client import bodies
from raymux.client.bodies import Messages
from raymux.client.cold_start import LOOK_AFTER_S, LOOK_EVERY_S, ColdStart, Comments, OnColdStart, in_status, in_warmup
from raymux.client.on_raymux import OnRaymux
from raymux.client.types import Ranked, Status, Warmup, ranked, vectors, warmed


class CallableAsyncChat(AsyncChat):
    """`await client.chat(...)`, beside `client.chat.completions.create(...)`."""

    async def __call__(self, messages: Messages, *, model: str | None = None, **parameters: Any) -> str:
        """The answer's text; see `InferenceClient.chat`. `stream` has its pieces as they come."""
        body = bodies.chat_body(messages, model, parameters)
        reply = await self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        return reply.choices[0].message.content or ""

    async def stream(self, messages: Messages, *, model: str | None = None, **parameters: Any) -> AsyncIterator[str]:
        """The pieces of the answer's text as they come."""
        body = {**bodies.chat_body(messages, model, parameters), "stream": True}
        reply = await self._client.post(
            "/chat/completions",
            cast_to=ChatCompletion,
            body=body,
            stream=True,
            stream_cls=AsyncStream[ChatCompletionChunk],
        )
        async with reply:
            async for chunk in reply:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text


class ManagedAsyncModels(AsyncModels):
    """`ManagedModels` for asyncio."""

    async def add(self, name: str, **fields: Any) -> Model:
        """Register a model, an adapter or a checkpoint: the fields that its entry in the configuration would have."""
        return await self._post("/models", body={"name": name, **fields}, cast_to=Model)

    async def promote(self, model: str) -> None:
        """Load an RL checkpoint ahead of its first request; returns when the order was taken."""
        await self._order(model, "promote")

    async def start(self, model: str) -> None:
        """Start a model, also one that was stopped; returns when the order was taken."""
        await self._order(model, "start")

    async def stop(self, model: str, *, drain: bool = False) -> None:
        """Stop a model until it is started by hand. With `drain` requests that run are finished."""
        await self._order(model, "stop", {"drain": "true"} if drain else {})

    async def _order(self, model: str, verb: str, query: Mapping[str, object] | None = None) -> None:
        await self._post(bodies.model_path(model, verb), cast_to=object, options={"params": query or {}})


class AsyncInferenceClient(OnRaymux, AsyncOpenAI):
    """`InferenceClient` for asyncio: the same arguments, with every call awaited. `on_cold_start` is a plain function,
    called in the event loop."""

    @cached_property
    def chat(self) -> CallableAsyncChat:
        return CallableAsyncChat(self)

    @cached_property
    def models(self) -> ManagedAsyncModels:
        return ManagedAsyncModels(self)

    async def embed(
        self, texts: str | Sequence[str], *, model: str | None = None, **parameters: Any
    ) -> list[list[float]]:
        """The vectors of texts, in their order; a single text gets a list of one."""
        body = bodies.embeddings_body(texts, model, parameters)
        reply = await self.post("/embeddings", cast_to=CreateEmbeddingResponse, body=body)
        return vectors(reply)

    async def rerank(
        self, query: str, docs: Sequence[str], *, model: str | None = None, top_n: int | None = None, **parameters: Any
    ) -> list[Ranked]:
        """The documents by how well they fit the query, best first; the best `top_n` of them if that is given."""
        body = bodies.rerank_body(query, docs, model, top_n, parameters)
        return ranked(await self._json("post", "/rerank", body))

    async def warmup(
        self,
        model: str,
        *,
        gpu: str | Sequence[str] | None = None,
        keep_warm_s: float = 0,
        wait: bool = True,
        on_cold_start: OnColdStart | None = None,
    ) -> Warmup:
        """Have a model ready, on a GPU shape (or the first possible of several) if asked, and keep it `keep_warm_s`.

        With `wait` returns when it is ready. Raises WarmupFailed when it cannot start. Needs an admin key.
        """
        report, begun_s = on_cold_start or self.on_cold_start, time.monotonic()
        warmup: dict[str, Any] = await self._json("post", "/warmup", bodies.warmup_body(model, gpu, keep_warm_s))
        while wait and warmup["state"] == "starting":
            if report is not None:
                report(in_warmup(warmup, time.monotonic() - begun_s))
            await asyncio.sleep(bodies.WARMUP_LOOK_EVERY_S)
            warmup = (await self.warmup_state(warmup["id"])).to_dict()
        return warmed(warmup, model)

    async def warmup_state(self, id: str) -> Warmup:
        """How a warm-up fares, by the id it was given."""
        return await self.get(f"/warmup/{id}", cast_to=Warmup)

    async def status(self) -> Status:
        """Every model's variants: their states, replicas and queues."""
        return await self.get("/status", cast_to=Status)

    async def gpus(self) -> list[dict[str, Any]]:
        """Every type of GPU: what the cluster has, has free and may add, and the models that run on it."""
        return (await self._json("get", "/gpus"))["data"]

    # Cold starts

    async def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """As the official client does, telling `on_cold_start` what the request waits for."""
        report = self.on_cold_start
        if report is None or not bodies.may_wait(options.method, options.url):
            return await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        model = bodies.model_in(options.json_data)
        async with self._watched(model, None if stream else report):
            reply = await super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        if isinstance(reply, AsyncStream):
            _listen(reply.response, Comments(model, report))
        return reply

    @asynccontextmanager
    async def _watched(self, model: str | None, report: OnColdStart | None) -> AsyncIterator[None]:
        """Tell `report` how far a start is while the block runs."""
        if report is None:
            yield
            return
        watch = asyncio.create_task(self._watch(model, report))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, model: str | None, report: OnColdStart) -> None:
        begun_s, wait_s = time.monotonic(), LOOK_AFTER_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = LOOK_EVERY_S
            found = await self._starting(model, time.monotonic() - begun_s)
            if found is not None:
                report(found)

    async def _starting(self, model: str | None, waited_s: float) -> ColdStart | None:
        plain = self.copy(on_cold_start=None, max_retries=0, timeout=5)
        description = await plain._json("get", bodies.model_path(model)) if model else None
        return in_status(await plain._json("get", "/status"), description, model, waited_s)

    async def _json(self, method: Literal["get", "post"], path: str, body: Any = None) -> dict[str, Any]:
        """The parsed object of a reply of raymux's own."""
        call = cast(Any, self.get if method == "get" else self.post)
        return await call(path, cast_to=object, **({} if body is None else {"body": body}))


def _listen(response: httpx2.Response, comments: Comments) -> None:
    """Have the comments of a stream read while it is read."""
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _ReadAlong(response.stream, comments)


class _ReadAlong(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, comments: Comments) -> None:
        self._inner = inner
        self._comments = comments

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._comments.feed(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
