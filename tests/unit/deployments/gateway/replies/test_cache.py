"""The cache: what is the same is computed once, whoever leaves, and nothing broken is ever given again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from catalog.cache import CacheSettings
from catalog.errors import UpstreamError
from catalog.redis import RedisSettings
from deployments.gateway.exchange import EVENT_STREAM, Reply
from deployments.gateway.replies.cache import ResponseCache
from deployments.gateway.replies.kept import KeptReply
from deployments.gateway.replies.store import MemoryStore, RedisStore
from deployments.gateway.shared_redis import SharedRedis
from deployments.wire import Usage
from router.keys import Keyring
from tests.redis_server import RedisServer
from tests.unit.builders import CHAT, EMBEDDER, Client, Clock, catalog_dict, catalog_settings, report, settle, until
from tests.unit.deployments.gateway.conftest import GatewayUnderTest, chat_scope
from tests.unit.deployments.gateway.test_guard import ADMIN, USER, headers, key

DONE = b"data: [DONE]\n\n"
SETTINGS = CacheSettings()


class Engine:
    """Answers with a number that grows; `hold` makes it wait in the middle of a stream."""

    def __init__(self) -> None:
        self.count = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.num_cancelled = 0

    async def whole(self, reply: Reply) -> None:
        self.count += 1
        number = self.count
        await self._wait()
        reply.exchange.usage = Usage(5, 5)
        content = json.dumps({"answer": number}).encode()
        await reply.begin(200, b"application/json", len(content))
        await reply.end(content)

    async def stream(self, reply: Reply) -> None:
        self.count += 1
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: %d\n\n" % self.count)
        await self._wait()
        await reply.write(DONE)
        await reply.end()

    async def cut(self, reply: Reply) -> None:
        self.count += 1
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: %d\n\n" % self.count)
        await reply.end()

    async def broken(self, reply: Reply) -> None:
        self.count += 1
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: %d\n\n" % self.count)
        raise UpstreamError("gone")

    async def _wait(self) -> None:
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise


@pytest.fixture
async def engine(gateway: GatewayUnderTest) -> Engine:
    engine = Engine()
    gateway.cache = ResponseCache(MemoryStore(10**6, lambda: gateway.now_s), SETTINGS, gateway.services.metrics)
    await gateway.publish(report("r1"), report("e1", variant=f"{EMBEDDER}@CPU"))
    gateway.relay.script = [engine.whole] * 50
    return engine


async def ask(gateway: GatewayUnderTest, secret: str | None = None, **fields: Any) -> tuple[Any, str | None]:
    reply = await gateway.chat(headers(secret) if secret else None, **{"temperature": 0, **fields})
    assert reply.status_code == 200
    # What is kept is kept after the reply was sent.
    if gateway.cache is not None:
        await until(lambda: not gateway.cache._flights)
    return reply.json()["answer"], reply.headers.get("x-raymux-cache")


async def test_an_equal_request_gets_the_same_answer_without_an_engine(
    gateway: GatewayUnderTest, engine: Engine
) -> None:
    assert await ask(gateway) == (1, "miss")
    assert await ask(gateway) == (1, "hit")
    await gateway.publish()
    assert await ask(gateway) == (1, "hit"), "a hit starts no cold model"
    assert engine.count == 1


async def test_what_differs_is_asked_anew(gateway: GatewayUnderTest, engine: Engine) -> None:
    await ask(gateway)
    for fields in ({"max_tokens": 5}, {"seed": 1}, {"messages": []}, {"user": "x"}, {"gpu_preference": "CPU"}):
        assert (await ask(gateway, **fields))[1] == "miss"
    assert (await gateway.chat({"x-gpu-preference": "CPU"}, temperature=0)).headers["x-raymux-cache"] == "hit"


async def test_what_is_sampled_is_never_cached(gateway: GatewayUnderTest, engine: Engine) -> None:
    assert [await ask(gateway, temperature=1) for _ in range(2)] == [(1, None), (2, None)]


@pytest.mark.parametrize("wish", ["no-store", "no-cache", "max-age=0, No-Store"])
async def test_who_wants_no_cache_gets_none(gateway: GatewayUnderTest, engine: Engine, wish: str) -> None:
    await ask(gateway)
    reply = await gateway.chat({"cache-control": wish}, temperature=0)
    assert (reply.json()["answer"], reply.headers.get("x-raymux-cache")) == (2, None)


async def test_tenants_share_no_answers(gateway: GatewayUnderTest, engine: Engine) -> None:
    gateway.keyring = Keyring([key("user", USER, tenant="one"), key("admin", ADMIN, tenant="two")])
    assert await ask(gateway, USER) == (1, "miss")
    assert await ask(gateway, ADMIN) == (2, "miss")
    assert await ask(gateway, USER) == (1, "hit")


async def test_a_model_that_is_served_otherwise_answers_anew(gateway: GatewayUnderTest, engine: Engine) -> None:
    await ask(gateway)
    models = catalog_dict()["models"]
    models[0]["source"] = "models/demo-chat-2"
    gateway.manager.configure(catalog_settings(models=models))
    await gateway.publish(report("r1"))
    assert await ask(gateway) == (2, "miss")


async def test_embeddings_are_always_the_same(gateway: GatewayUnderTest, engine: Engine) -> None:
    replies = [await gateway.post("/v1/embeddings", json={"input": "a"}) for _ in range(2)]
    assert [reply.headers["x-raymux-cache"] for reply in replies] == ["miss", "hit"]


async def test_an_answer_is_forgotten_after_its_time(gateway: GatewayUnderTest, engine: Engine) -> None:
    await ask(gateway)
    gateway.now_s += SETTINGS.ttl_s
    assert await ask(gateway) == (2, "miss")


async def test_a_hit_costs_a_request_and_no_tokens(gateway: GatewayUnderTest, engine: Engine) -> None:
    gateway.keyring = Keyring([key("user", USER, limits={"requests_per_minute": 5, "tokens_per_minute": 1000})])
    for _ in range(4):
        reply = await gateway.chat(headers(USER), temperature=0, max_tokens=50)
        await settle()
    assert reply.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(reply.headers["x-ratelimit-remaining-tokens"]) > 1000 - 10 - 100


async def test_a_stream_is_given_again_as_a_stream(gateway: GatewayUnderTest, engine: Engine) -> None:
    gateway.relay.script = [engine.stream]
    replies = [await gateway.chat(temperature=0, stream=True) for _ in range(2)]
    assert [reply.content for reply in replies] == [b"data: 1\n\n" + DONE] * 2
    assert [reply.headers["x-raymux-cache"] for reply in replies] == ["miss", "hit"]
    assert replies[1].headers["content-type"] == replies[0].headers["content-type"]


@pytest.mark.parametrize("how", ["cut", "broken"])
async def test_a_stream_that_did_not_end_well_is_not_kept(gateway: GatewayUnderTest, engine: Engine, how: str) -> None:
    gateway.relay.script = [getattr(engine, how), engine.stream]
    first = await gateway.chat(temperature=0, stream=True)
    assert first.text.startswith("data: 1\n\n")
    assert first.text.count('"error"') == (how == "broken")
    assert (await gateway.chat(temperature=0, stream=True)).content == b"data: 2\n\n" + DONE


async def test_errors_are_not_kept(gateway: GatewayUnderTest, engine: Engine) -> None:
    gateway.relay.script = [UpstreamError("broken"), engine.whole]
    assert (await gateway.chat(temperature=0)).status_code == 502
    assert await ask(gateway) == (1, "miss")


async def test_an_answer_that_is_too_large_is_passed_on_and_not_kept(gateway: GatewayUnderTest, engine: Engine) -> None:
    small = CacheSettings.model_construct(max_bytes=10**6, max_entry_bytes=5, ttl_s=60)
    gateway.cache = ResponseCache(MemoryStore(10**6), small, gateway.services.metrics)
    assert [await ask(gateway) for _ in range(2)] == [(1, "miss"), (2, "miss")]


async def test_a_stand_in_s_answer_is_not_kept_as_the_model_s(gateway: GatewayUnderTest, engine: Engine) -> None:
    models = catalog_dict()["models"]
    models[0]["fallbacks"] = ["spare"]
    models.append({"name": "spare", "source": "models/demo-chat", "variants": [{"shape": "CPU"}]})
    gateway.manager.configure(catalog_settings(models=models))
    await gateway.publish(report("r1"), report("s1", variant="spare@CPU"))
    gateway.relay.script = [UpstreamError("broken"), engine.whole, engine.whole]
    reply = await gateway.chat(temperature=0)
    assert (reply.json()["answer"], reply.headers["x-raymux-model"]) == (1, "spare")
    reply = await gateway.chat(temperature=0)
    assert (reply.json()["answer"], reply.headers["x-raymux-model"]) == (2, CHAT)


# Equal requests at once


async def test_equal_requests_at_once_are_computed_once(gateway: GatewayUnderTest, engine: Engine) -> None:
    engine.hold.clear()
    asked = [asyncio.create_task(ask(gateway)) for _ in range(10)]
    await until(lambda: engine.count)
    await asyncio.sleep(0)
    engine.hold.set()
    assert [answer for answer, _ in await asyncio.gather(*asked)] == [1] * 10
    assert engine.count == 1


async def test_who_joins_a_stream_gets_it_from_its_beginning_as_it_comes(
    gateway: GatewayUnderTest, engine: Engine
) -> None:
    engine.hold.clear()
    gateway.relay.script = [engine.stream]
    body = b'{"model": "demo-chat", "temperature": 0, "stream": true}'
    first, second = (asyncio.create_task(gateway.call(chat_scope(), Client(body))) for _ in range(2))
    await until(lambda: engine.count)
    await asyncio.sleep(0.01)
    engine.hold.set()
    assert (await first).body == (await second).body == b"data: 1\n\n" + DONE


async def test_when_the_first_client_leaves_the_others_get_their_answer(
    gateway: GatewayUnderTest, engine: Engine
) -> None:
    engine.hold.clear()
    body = b'{"model": "demo-chat", "temperature": 0}'
    leader, follower = Client(body), Client(body)
    first = asyncio.create_task(gateway.call(chat_scope(), leader))
    await until(lambda: engine.count)
    second = asyncio.create_task(gateway.call(chat_scope(), follower))
    await asyncio.sleep(0.01)
    leader.leave()
    await first
    engine.hold.set()
    assert json.loads((await second).body) == {"answer": 1}
    assert engine.num_cancelled == 0


async def test_when_all_have_left_the_work_ends(gateway: GatewayUnderTest, engine: Engine) -> None:
    engine.hold.clear()
    clients = [Client(b'{"model": "demo-chat", "temperature": 0}') for _ in range(3)]
    calls = [asyncio.create_task(gateway.call(chat_scope(), client)) for client in clients]
    await until(lambda: engine.count)
    await asyncio.sleep(0.01)
    for client in clients:
        client.leave()
    await asyncio.gather(*calls)
    await until(lambda: engine.num_cancelled)
    engine.hold.set()
    assert await ask(gateway) == (2, "miss")


async def test_an_error_is_told_to_all_who_wait(gateway: GatewayUnderTest, engine: Engine) -> None:
    async def fail(reply: Reply) -> None:
        engine.count += 1
        await engine.hold.wait()
        raise UpstreamError("broken")

    engine.hold.clear()
    gateway.relay.script = [fail]
    asked = [asyncio.create_task(gateway.chat(temperature=0)) for _ in range(3)]
    await until(lambda: engine.count)
    await asyncio.sleep(0.01)
    engine.hold.set()
    replies = await asyncio.gather(*asked)
    assert {reply.json()["error"]["code"] for reply in replies} == {"upstream_error"}
    assert len({reply.json()["error"]["request_id"] for reply in replies}) == 3


# Stored values


def test_a_kept_reply_comes_back_as_it_was() -> None:
    kept = KeptReply(200, "text/event-stream", b"data: \n\n\xff\n", "note")
    assert KeptReply.decode(kept.encode()) == kept


@pytest.mark.parametrize("where", [0, 20, 60, 90, -1])
def test_a_value_that_was_changed_or_cut_is_none(where: int) -> None:
    value = KeptReply(200, "application/json", b"x" * 50).encode()
    changed = bytearray(value)
    changed[where] ^= 1
    assert KeptReply.decode(bytes(changed)) is None
    assert KeptReply.decode(value[:where]) is None


@pytest.mark.parametrize("value", [b"", b"\n", b"text", b"\x80\x04\x95", b"raymux-reply-1 \n"])
def test_foreign_values_are_none(value: bytes) -> None:
    assert KeptReply.decode(value) is None


async def test_memory_is_bounded_and_the_least_recently_used_leaves() -> None:
    store = MemoryStore(1000)
    for name in "abc":
        await store.put(name, b"x" * 200, 60)
    assert [await store.get(name) is not None for name in "abc"] == [False, True, True]
    await store.put("huge", b"x" * 2000, 60)
    assert await store.get("huge") is None
    assert await store.get("c") is not None


# In Redis


@pytest.fixture
async def redis() -> AsyncIterator[tuple[RedisServer, SharedRedis, Clock]]:
    with RedisServer() as server:
        clock = Clock()
        shared = SharedRedis(server.url, RedisSettings(timeout_s=0.2), clock)
        yield server, shared, clock
        await shared.close()


async def test_redis_failing_in_every_way_costs_answers_and_never_an_error(
    gateway: GatewayUnderTest, engine: Engine, redis: tuple[RedisServer, SharedRedis, Clock]
) -> None:
    server, shared, clock = redis
    store = RedisStore(shared, "cache", MemoryStore(10**6))
    gateway.cache = ResponseCache(store, SETTINGS, gateway.services.metrics)
    assert [await ask(gateway) for _ in range(2)] == [(1, "miss"), (1, "hit")]
    (name,) = server.client.keys("raymux:cache:*")
    assert 0 < server.client.ttl(name) <= SETTINGS.ttl_s
    for garbage in (b"garbage", b"\x80\x04\x95", server.client.get(name)[:-1]):
        server.client.set(name, garbage)
        assert (await ask(gateway))[1] == "miss"
        assert (await ask(gateway))[1] == "hit"
    server.client.flushall()
    assert (await ask(gateway))[1] == "miss"
    server.client.delete(name)
    server.client.lpush(name, "a list")
    assert (await ask(gateway))[1] == "miss"
    server.client.flushall()
    clock.now_s += 60
    server.fill()
    assert (await ask(gateway, max_tokens=1))[1] == "miss"
    clock.now_s += 60
    server.freeze()
    assert (await ask(gateway, max_tokens=2))[1] == "miss"
    assert (await ask(gateway, max_tokens=2))[1] == "hit", "memory stands in"
    server.thaw()
    server.stop()
    clock.now_s += 60
    assert (await ask(gateway, max_tokens=3))[1] == "miss"
