"""The client for blocking code: the official `OpenAI` client, and what raymux adds to the API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, cast, overload

import httpx2
from openai import OpenAI, Stream
from openai._compat import cached_property
from openai.resources.chat import Chat
from openai.resources.models import Models
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from raymux.client import bodies
from raymux.client.bodies import Messages
from raymux.client.cold_start import ColdStart, Comments, OnColdStart, Watch, in_status, in_warmup
from raymux.client.on_raymux import OnRaymux
from raymux.client.types import Ranked, Status, Warmup, ranked, vectors, warmed


class CallableChat(Chat):
    """`client.chat(...)`, beside `client.chat.completions.create(...)`."""

    @overload
    def __call__(
        self, messages: Messages, *, model: str | None = None, stream: Literal[False] = False, **parameters: Any
    ) -> str: ...

    @overload
    def __call__(
        self, messages: Messages, *, model: str | None = None, stream: Literal[True], **parameters: Any
    ) -> Iterator[str]: ...

    def __call__(
        self, messages: Messages, *, model: str | None = None, stream: bool = False, **parameters: Any
    ) -> str | Iterator[str]:
        """The answer's text; with `stream=True` its pieces as they come.

        `messages` are OpenAI's, or the text of one message. `parameters` are any of the chat endpoint, those of vLLM
        and raymux (`top_k`, `gpu_preference`) included. Raises what the official client raises.
        """
        body = bodies.chat_body(messages, model, parameters)
        if stream:
            return self._pieces({**body, "stream": True})
        reply = self._client.post("/chat/completions", cast_to=ChatCompletion, body=body)
        return reply.choices[0].message.content or ""

    def _pieces(self, body: dict[str, Any]) -> Iterator[str]:
        reply = self._client.post(
            "/chat/completions", cast_to=ChatCompletion, body=body, stream=True, stream_cls=Stream[ChatCompletionChunk]
        )
        with reply:
            for chunk in reply:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    yield text


class ManagedModels(Models):
    """OpenAI's models resource (`list`, `retrieve`, `delete`), and what else can be done to a model of raymux.

    Everything but `list` and `retrieve` needs an admin key where the server asks for keys.
    """

    def add(self, name: str, **fields: Any) -> Model:
        """Register a model, an adapter or a checkpoint: the fields that its entry in the configuration would have."""
        return self._post("/models", body={"name": name, **fields}, cast_to=Model)

    def promote(self, model: str) -> None:
        """Load an RL checkpoint ahead of its first request; returns when the order was taken."""
        self._order(model, "promote")

    def start(self, model: str) -> None:
        """Start a model, also one that was stopped; returns when the order was taken."""
        self._order(model, "start")

    def stop(self, model: str, *, drain: bool = False) -> None:
        """Stop a model until it is started by hand. With `drain` requests that run are finished."""
        self._order(model, "stop", {"drain": "true"} if drain else {})

    def _order(self, model: str, verb: str, query: Mapping[str, object] | None = None) -> None:
        self._post(bodies.model_path(model, verb), cast_to=object, options={"params": query or {}})


class InferenceClient(OnRaymux, OpenAI):
    """The official OpenAI client on a raymux server.

    `base_url` is the server's address, with or without `/v1`, by default that of `RAYMUX_URL`, `INFERENCE_URL` or
    `BENTOML_URL`, else http://127.0.0.1:8000; `api_key` by default that of `RAYMUX_API_KEY`. `on_cold_start` is called
    with a `ColdStart` now and then while a request waits for its model: from the thread that reads a stream, and from
    another one otherwise. All other arguments are those of `openai.OpenAI`; `max_retries` (2) is how often a request is
    tried again that failed before its answer began.
    """

    @cached_property
    def chat(self) -> CallableChat:
        return CallableChat(self)

    @cached_property
    def models(self) -> ManagedModels:
        return ManagedModels(self)

    def embed(self, texts: str | Sequence[str], *, model: str | None = None, **parameters: Any) -> list[list[float]]:
        """The vectors of texts, in their order; a single text gets a list of one."""
        body = bodies.embeddings_body(texts, model, parameters)
        reply = self.post("/embeddings", cast_to=CreateEmbeddingResponse, body=body)
        return vectors(reply)

    def rerank(
        self, query: str, docs: Sequence[str], *, model: str | None = None, top_n: int | None = None, **parameters: Any
    ) -> list[Ranked]:
        """The documents by how well they fit the query, best first; the best `top_n` of them if that is given."""
        body = bodies.rerank_body(query, docs, model, top_n, parameters)
        return ranked(self._json("post", "/rerank", body))

    def warmup(
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
        warmup: dict[str, Any] = self._json("post", "/warmup", bodies.warmup_body(model, gpu, keep_warm_s))
        while wait and warmup["state"] == "starting":
            if report is not None:
                report(in_warmup(warmup, time.monotonic() - begun_s))
            time.sleep(bodies.WARMUP_LOOK_EVERY_S)
            warmup = self.warmup_state(warmup["id"]).to_dict()
        return warmed(warmup, model)

    def warmup_state(self, id: str) -> Warmup:
        """How a warm-up fares, by the id it was given."""
        return self.get(f"/warmup/{id}", cast_to=Warmup)

    def status(self) -> Status:
        """Every model's variants: their states, replicas and queues."""
        return self.get("/status", cast_to=Status)

    def gpus(self) -> list[dict[str, Any]]:
        """Every type of GPU: what the cluster has, has free and may add, and the models that run on it."""
        return self._json("get", "/gpus")["data"]

    # Cold starts

    def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """As the official client does, telling `on_cold_start` what the request waits for."""
        report = self.on_cold_start
        if report is None or not bodies.may_wait(options.method, options.url):
            return super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        model = bodies.model_in(options.json_data)
        with nullcontext() if stream else Watch(lambda waited_s: self._starting(model, waited_s), report):
            reply = super().request(cast_to, options, stream=stream, stream_cls=stream_cls)
        if isinstance(reply, Stream):
            _listen(reply.response, Comments(model, report))
        return reply

    def _starting(self, model: str | None, waited_s: float) -> ColdStart | None:
        plain = self.copy(on_cold_start=None, max_retries=0, timeout=5)
        description = plain._json("get", bodies.model_path(model)) if model else None
        return in_status(plain._json("get", "/status"), description, model, waited_s)

    def _json(self, method: Literal["get", "post"], path: str, body: Any = None) -> dict[str, Any]:
        """The parsed object of a reply of raymux's own."""
        call = cast(Any, self.get if method == "get" else self.post)
        return call(path, cast_to=object, **({} if body is None else {"body": body}))


def _listen(response: httpx2.Response, comments: Comments) -> None:
    """Have the comments of a stream read while it is read."""
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _ReadAlong(response.stream, comments)


class _ReadAlong(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, comments: Comments) -> None:
        self._inner = inner
        self._comments = comments

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._comments.feed(chunk)
            yield chunk

    def close(self) -> None:
        self._inner.close()


BentoMLClient = InferenceClient


def get_bentoml_client(**options: Any) -> InferenceClient:
    """A client, under the name that older programs use."""
    return InferenceClient(**options)
