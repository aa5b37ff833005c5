from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from catalog.errors import (
    AdapterRejected,
    ModelFailed,
    ModelStopped,
    PayloadTooLarge,
    RaymuxError,
    UnsupportedMediaType,
    UpstreamError,
)
from catalog.replicas import ReplicaReport, VariantState
from catalog.settings import DefaultModels
from deployments.gateway.dispatch import MAX_ATTEMPTS
from deployments.gateway.exchange import EVENT_STREAM, ClientLeft, Exchange, Reply
from deployments.gateway.inference import read_json_body, until_client_leaves
from deployments.gateway.relay import ReplicaDraining, ReplicaGone
from router.endpoints import ENDPOINTS, Endpoint
from tests.unit.builders import (
    CHAT,
    CHECKPOINT,
    EMBEDDER,
    HELD_CHECKPOINT,
    PIRATE,
    Client,
    adapter,
    report,
    settle,
    status,
    until,
)
from tests.unit.deployments.gateway.conftest import GatewayUnderTest, chat_scope

GONE = ReplicaGone()
DRAINING = ReplicaDraining()


class Starts:
    """What the manager answers to `ensure`: nothing until `finish`, then the outcome."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self.asked: list[str] = []
        self._outcome: asyncio.Future[ReplicaReport | RaymuxError] = asyncio.get_running_loop().create_future()
        gateway.manager.on_ensure = self._ensure

    async def _ensure(self, keys: tuple[str, ...], adapter: Any, suspects: Any) -> ReplicaReport | RaymuxError:
        self.asked.append(keys[0])
        return await self._outcome

    def finish(self, outcome: ReplicaReport | RaymuxError) -> None:
        self._outcome.set_result(outcome)


@pytest.fixture
async def starts(gateway: GatewayUnderTest) -> Starts:
    return Starts(gateway)


# The body


async def read(client: Client, max_bytes: int = 100, **headers: str) -> bytes:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return await read_json_body(named, client, max_bytes)


async def test_a_body_is_read_whole_however_many_pieces_it_comes_in() -> None:
    assert await read(Client(b'{"a"', b"", b": 1}")) == b'{"a": 1}'
    assert await read(Client(b"x" * 100)) == b"x" * 100


@pytest.mark.parametrize("length", ["101", "9" * 18, "9" * 30, "9" * 5000])
async def test_a_body_that_says_it_is_too_large_is_refused_unread(length: str) -> None:
    async def unread() -> Any:
        raise AssertionError("the body was read")

    with pytest.raises(PayloadTooLarge, match="at most 100 bytes"):
        await read(unread, content_length=length)  # type: ignore[arg-type]


async def test_a_body_that_grows_too_large_is_not_read_to_its_end() -> None:
    client = Client(*[b"x" * 60] * 10)
    with pytest.raises(PayloadTooLarge):
        await read(client)
    assert len(client._messages) == 8


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "json",
        "application/jsonx",
    ],
)
async def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read(Client(b"{}"), content_type=content_type)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"]
)
async def test_json_by_any_of_its_names_is_read(content_type: str) -> None:
    assert await read(Client(b"{}"), content_type=content_type) == b"{}"


async def test_a_client_that_leaves_while_it_sends_is_noticed() -> None:
    client = Client()
    client.leave()
    with pytest.raises(ClientLeft):
        await read(client)


# A client that leaves


async def test_work_ends_as_soon_as_the_client_leaves() -> None:
    client, exchange, has_begun, was_cancelled = Client(b"more"), Exchange("r", "POST", "/"), asyncio.Event(), False

    async def work() -> None:
        nonlocal was_cancelled
        has_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    running = asyncio.create_task(until_client_leaves(client, exchange, work()))
    await has_begun.wait()
    await settle()
    assert not running.done()
    client.leave()
    await running
    assert was_cancelled
    assert exchange.outcome == "client_left"
    assert running.cancelling() == 0


async def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    exchange = Exchange("r", "POST", "/")
    running = asyncio.create_task(until_client_leaves(Client(), exchange, asyncio.Event().wait()))  # type: ignore[arg-type]
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert exchange.outcome == "completed"


async def test_work_that_ends_stops_the_watch() -> None:
    await until_client_leaves(Client(), Exchange("r", "POST", "/"), asyncio.sleep(0))
    await settle()
    assert len(asyncio.all_tasks()) == 1


# The way to a replica


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_an_engine_is_told_the_default_model_only_where_it_needs_one(
    gateway: GatewayUnderTest, endpoint: Endpoint
) -> None:
    gateway.settings = gateway.settings.model_copy(
        update={"defaults": DefaultModels(chat=CHAT, embeddings=EMBEDDER, rerank=EMBEDDER)}
    )
    await gateway.publish(report("r1"), report("e1", variant=f"{EMBEDDER}@CPU"))
    assert (await gateway.post(endpoint.path, content=b"{}")).status_code == 200
    default = CHAT if endpoint.default == "chat" else EMBEDDER
    assert json.loads(gateway.relay.calls[0].body) == ({"model": default} if endpoint.needs_model else {})


async def test_a_request_goes_to_a_warm_replica_with_its_bytes_unchanged(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"))
    raw = b'{"model":  "demo-chat", "messages": [{"content": "\\u00e9"}] }\n'
    reply = await gateway.post("/v1/chat/completions", content=raw)
    assert (reply.status_code, reply.json()) == (200, {"from": "the replica"})
    (call,) = gateway.relay.calls
    assert (call.replica, call.path, call.body, call.adapter) == ("r1", "/v1/chat/completions", raw, None)
    assert reply.headers["x-raymux-model"] == CHAT
    assert reply.headers["x-raymux-gpu"] == "CPU;reason=warm"
    assert "x-raymux-cold-start-s" not in reply.headers


async def test_paths_work_without_v1_and_reach_the_engine_by_its_own_name(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("e1", variant=f"{EMBEDDER}@CPU"))
    for path, engine_path in (
        ("/chat/completions", "/v1/chat/completions"), ("/v1/tokenize", "/tokenize"), ("/tokenize", "/tokenize"),
        ("/v1/messages", "/v1/messages"), ("/embeddings", "/v1/embeddings"),
    ):  # fmt: skip
        assert (await gateway.post(path, json={})).status_code == 200
        assert gateway.relay.calls[-1].path == engine_path


async def test_a_request_without_a_model_goes_to_the_default_of_its_endpoint(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("e1", variant=f"{EMBEDDER}@CPU"))
    await gateway.post("/v1/completions", json={})
    await gateway.post("/v1/embeddings", json={})
    assert [call.replica for call in gateway.relay.calls] == ["r1", "e1"]
    reply = await gateway.post("/v1/rerank", json={})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")


async def test_requests_spread_over_the_replicas(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))
    may_answer = asyncio.Event()

    async def slowly(reply: Reply) -> None:
        await may_answer.wait()
        await reply.whole(200, {})

    gateway.relay.script = [slowly] * 10  # type: ignore[list-item]
    running = [asyncio.create_task(gateway.chat()) for _ in range(10)]
    await until(lambda: len(gateway.relay.calls) == 10)
    may_answer.set()
    await asyncio.gather(*running)
    replicas = [call.replica for call in gateway.relay.calls]
    assert replicas.count("r1") == replicas.count("r2") == 5


@pytest.mark.parametrize("refusal", [GONE, DRAINING])
async def test_a_refused_request_is_tried_on_another_replica_before_the_first_byte(
    gateway: GatewayUnderTest, refusal: Exception
) -> None:
    await gateway.publish(report("r1"), report("r2"))
    gateway.relay.script = [refusal]
    assert (await gateway.chat()).status_code == 200
    first, second = gateway.relay.calls
    assert {first.replica, second.replica} == {"r1", "r2"}
    assert second.exchange.num_attempts == 2
    assert gateway.fleet._ongoing == {}


async def test_a_replica_that_refused_gets_no_further_request(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))
    gateway.relay.script = [GONE]
    for _ in range(5):
        await gateway.chat()
    first, *others = [call.replica for call in gateway.relay.calls]
    assert first not in others


async def test_when_no_replica_takes_it_the_caller_is_told_after_a_few_tries(gateway: GatewayUnderTest) -> None:
    await gateway.publish(*(report(f"r{number}") for number in range(5)))
    gateway.relay.script = [GONE] * 5
    reply = await gateway.chat()
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")
    assert reply.headers["retry-after"] == "1"
    assert len(gateway.relay.calls) == MAX_ATTEMPTS
    assert gateway.fleet._ongoing == {}


async def test_an_engines_refusal_is_not_tried_elsewhere(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))
    gateway.relay.script = [UpstreamError("it broke")]
    assert (await gateway.chat()).status_code == 502
    assert len(gateway.relay.calls) == 1


async def test_an_error_after_the_first_byte_is_an_event_and_no_retry(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))

    async def break_off(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: 1\n\n")
        raise UpstreamError("it went away")

    gateway.relay.script = [break_off]
    reply = await gateway.chat(stream=True)
    assert reply.status_code == 200
    first, event, rest = reply.text.split("\n\n")
    assert (first, rest) == ("data: 1", "")
    assert json.loads(event.removeprefix("data: "))["error"]["code"] == "upstream_error"
    assert len(gateway.relay.calls) == 1


async def test_a_client_that_leaves_cancels_the_work_and_frees_the_replica(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"))
    was_cancelled = False

    async def for_ever(reply: Reply) -> None:
        nonlocal was_cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    gateway.relay.script = [for_ever]
    client = Client(b"{}")
    running = asyncio.create_task(gateway.call(chat_scope(), client))
    await settle()
    assert gateway.fleet._ongoing == {"r1": 1}
    client.leave()
    sent = await running
    assert was_cancelled
    assert sent.messages == []
    assert gateway.fleet._ongoing == {}
    assert gateway.relay.calls[0].exchange.outcome == "client_left"


# Adapters and checkpoints


async def test_an_adapters_request_goes_only_where_it_is_held(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2", running=5, adapters=(PIRATE,)))
    reply = await gateway.chat(model=PIRATE)
    assert reply.headers["x-raymux-model"] == PIRATE
    (call,) = gateway.relay.calls
    assert (call.replica, call.adapter) == ("r2", adapter())


async def test_an_adapter_nobody_holds_is_loaded_first_which_is_no_cold_start(
    gateway: GatewayUnderTest, starts: Starts
) -> None:
    await gateway.publish(report("r1"))
    running = asyncio.create_task(gateway.chat({"x-raymux-no-wait": "true"}, model=PIRATE))
    # Longer than a caller who will not wait is kept for a start.
    done, _ = await asyncio.wait({running}, timeout=0.1)
    assert not done
    starts.finish(report("r1", adapters=(PIRATE,)))
    reply = await running
    assert reply.status_code == 200
    assert "x-raymux-cold-start-s" not in reply.headers
    assert gateway.relay.calls[0].adapter == adapter()


async def test_a_rejected_adapter_is_the_callers_error(gateway: GatewayUnderTest, starts: Starts) -> None:
    await gateway.publish(report("r1"))
    starts.finish(AdapterRejected("its rank is 99", param="model"))
    reply = await gateway.chat(model=PIRATE)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "adapter_rejected")


async def test_a_checkpoint_without_promotion_is_refused_until_it_is_promoted(gateway: GatewayUnderTest) -> None:
    held = report("h1", variant=f"{HELD_CHECKPOINT}@CPU")
    await gateway.publish(held)
    reply = await gateway.chat(model=HELD_CHECKPOINT)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "model_not_promoted")
    await gateway.publish(held, promoted=[HELD_CHECKPOINT])
    assert (await gateway.chat(model=HELD_CHECKPOINT)).status_code == 200


# GPU preference


async def test_a_preference_decides_the_replica(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("cpu"), report("gpu", variant=f"{CHAT}@H100:4"))
    await gateway.chat()
    await gateway.chat({"x-gpu-preference": "H100:4"})
    await gateway.chat(gpu_preference=["H100:4", "CPU"])
    await gateway.chat(gpu_preference="auto")
    assert [call.replica for call in gateway.relay.calls] == ["cpu", "gpu", "gpu", "cpu"]


async def test_a_preference_for_a_cold_variant_starts_it(gateway: GatewayUnderTest, starts: Starts) -> None:
    await gateway.publish(report("cpu"))
    starts.finish(report("gpu", variant=f"{CHAT}@H100:4"))
    reply = await gateway.chat({"x-gpu-preference": "H100:4"})
    assert starts.asked == [f"{CHAT}@H100:4"]
    assert reply.headers["x-raymux-gpu"] == "H100:4;reason=placeable"


@pytest.mark.parametrize(
    ("header", "body", "code"),
    [
        ("V100", None, "invalid_gpu_preference"), ("", None, "invalid_gpu_preference"),
        (None, 5, "invalid_gpu_preference"), ("CPU", "H100:4", "invalid_gpu_preference"),
        ("A100", None, "gpu_not_supported_for_model"),
    ],
)  # fmt: skip
async def test_a_preference_that_cannot_be_met_is_refused(gateway: GatewayUnderTest, header, body, code) -> None:
    reply = await gateway.chat({"x-gpu-preference": header} if header is not None else None, gpu_preference=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


# Cold starts


async def test_a_hundred_requests_to_a_cold_model_start_it_once(gateway: GatewayUnderTest, starts: Starts) -> None:
    running = [asyncio.create_task(gateway.chat()) for _ in range(100)]
    await settle()
    starts.finish(report("r1"))
    replies = await asyncio.gather(*running)
    assert [reply.status_code for reply in replies] == [200] * 100
    assert starts.asked == [f"{CHAT}@CPU"]
    assert all(float(reply.headers["x-raymux-cold-start-s"]) >= 0 for reply in replies)


@pytest.mark.parametrize(
    "error", [ModelFailed("it could not start: x", retry_after_s=5), ModelStopped("it was stopped")]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_start_that_cannot_be_is_answered_with_its_status(
    gateway: GatewayUnderTest, starts: Starts, error: RaymuxError, stream: bool
) -> None:
    starts.finish(error)
    reply = await gateway.chat(stream=stream)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, error.code)
    assert reply.headers.get("retry-after") == ("5" if error.retry_after_s else None)


async def test_a_caller_who_will_not_wait_is_told_when_to_come_back(gateway: GatewayUnderTest, starts: Starts) -> None:
    await gateway.publish(variants=[status(VariantState.COLD, expected_start_s=17.0)])
    reply = await gateway.chat({"x-raymux-no-wait": "true"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_loading")
    assert reply.headers["retry-after"] == "17"
    assert starts.asked == [f"{CHAT}@CPU"]
    starts.finish(report("r1"))
    await settle()
    assert (await gateway.chat({"x-raymux-no-wait": "true"})).status_code == 200


async def test_a_caller_who_will_not_wait_still_hears_of_a_failure(gateway: GatewayUnderTest, starts: Starts) -> None:
    starts.finish(ModelFailed("it could not start: x"))
    reply = await gateway.chat({"x-raymux-no-wait": "true"})
    assert reply.json()["error"]["code"] == "model_failed"


@pytest.mark.usefixtures("no_pauses")
async def test_a_stream_gets_comments_while_its_model_starts_and_then_its_events(
    gateway: GatewayUnderTest, starts: Starts
) -> None:
    async def events(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.end(b"data: [DONE]\n\n")

    gateway.relay.script = [events]
    running = asyncio.create_task(gateway.chat(stream=True))
    await settle()
    starts.finish(report("r1"))
    reply = await running
    *comments, done = reply.text.removesuffix("\n\n").split("\n\n")
    assert comments
    assert all(comment.startswith(": raymux ") for comment in comments)
    assert done == "data: [DONE]"


@pytest.mark.usefixtures("no_pauses")
async def test_a_start_that_fails_after_comments_is_an_event_without_done(
    gateway: GatewayUnderTest, starts: Starts
) -> None:
    running = asyncio.create_task(gateway.chat(stream=True))
    await settle()
    starts.finish(ModelFailed("it could not start: x"))
    reply = await running
    assert reply.status_code == 200
    assert reply.text.startswith(": raymux ")
    event = reply.text.removesuffix("\n\n").rpartition("\n\n")[2]
    assert json.loads(event.removeprefix("data: "))["error"]["code"] == "model_failed"
    assert "[DONE]" not in reply.text


async def test_a_client_that_leaves_a_cold_start_stops_it_for_nobody_else(
    gateway: GatewayUnderTest, starts: Starts
) -> None:
    client = Client(b"{}")
    leaving = asyncio.create_task(gateway.call(chat_scope(), client))
    staying = asyncio.create_task(gateway.chat())
    await settle()
    client.leave()
    await leaving
    starts.finish(report("r1"))
    assert (await staying).status_code == 200
    assert starts.asked == [f"{CHAT}@CPU"]


async def test_a_full_checkpoint_starts_a_deployment_of_its_own(gateway: GatewayUnderTest, starts: Starts) -> None:
    await gateway.publish(report("r1"))
    starts.finish(report("c1", variant=f"{CHECKPOINT}@CPU"))
    assert (await gateway.chat(model=CHECKPOINT)).status_code == 200
    assert starts.asked == [f"{CHECKPOINT}@CPU"]
