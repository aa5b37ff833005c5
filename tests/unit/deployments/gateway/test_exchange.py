from __future__ import annotations

import json

import pytest

from catalog.errors import InvalidRequest, ModelFailed
from deployments.gateway.exchange import EVENT_STREAM, Exchange, HttpReply, Reply
from tests.unit.builders import Sent


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange("req-1", "POST", "/v1/chat/completions")


@pytest.fixture
def reply(sent: Sent, exchange: Exchange) -> Reply:
    return HttpReply(sent, exchange)


async def test_the_head_says_what_is_known_of_the_exchange(reply: Reply, sent: Sent, exchange: Exchange) -> None:
    exchange.model, exchange.shape, exchange.cold_start_s = "demo-chat", "H100:4", 12.25
    await reply.whole(200, {"a": 1}, retry_after="3")
    assert sent.headers == {
        "content-type": "application/json", "content-length": "8", "x-request-id": "req-1",
        "x-raymux-model": "demo-chat", "x-raymux-gpu": "H100:4", "x-raymux-cold-start-s": "12.25", "retry-after": "3",
    }  # fmt: skip
    assert (sent.status, sent.body, sent.has_ended) == (200, b'{"a": 1}', True)
    assert exchange.status == 200


async def test_a_head_is_sent_once(reply: Reply, sent: Sent, exchange: Exchange) -> None:
    await reply.comment("raymux starting")
    await reply.begin(502, b"application/json")
    assert [message["type"] for message in sent.messages].count("http.response.start") == 1
    assert sent.status == exchange.status == 200


async def test_no_proxy_may_hold_events_back(reply: Reply, sent: Sent) -> None:
    await reply.begin(200, EVENT_STREAM)
    assert sent.headers["cache-control"] == "no-cache"
    assert sent.headers["x-accel-buffering"] == "no"
    assert "content-length" not in sent.headers


async def test_a_comment_is_one_an_sse_client_skips(reply: Reply, sent: Sent) -> None:
    await reply.comment("raymux starting")
    assert sent.body == b": raymux starting\n\n"
    assert sent.headers["content-type"].startswith("text/event-stream")


async def test_the_first_byte_is_the_first_of_the_reply_and_no_comment(reply: Reply, exchange: Exchange) -> None:
    await reply.comment("raymux starting")
    assert exchange.first_byte_ms is None
    await reply.write(b"data: 1\n\n")
    first_ms = exchange.first_byte_ms
    assert first_ms is not None
    await reply.write(b"data: 2\n\n")
    assert exchange.first_byte_ms == first_ms


async def test_an_error_before_the_head_is_a_reply_of_its_own(reply: Reply, sent: Sent, exchange: Exchange) -> None:
    await reply.fail(ModelFailed("it could not start", retry_after_s=5))
    assert sent.status == 503
    assert sent.headers["retry-after"] == "5"
    assert json.loads(sent.body)["error"] == {
        "message": "it could not start", "type": "server_error", "param": None, "code": "model_failed",
        "request_id": "req-1",
    }  # fmt: skip
    assert (exchange.outcome, exchange.error_code, exchange.status) == ("failed", "model_failed", 503)


async def test_an_error_after_the_first_byte_is_an_event_without_done(reply: Reply, sent: Sent) -> None:
    await reply.begin(200, EVENT_STREAM)
    await reply.write(b"data: 1\n\n")
    await reply.fail(ModelFailed("it went away"))
    first, event, rest = sent.body.split(b"\n\n")
    assert (first, rest) == (b"data: 1", b"")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "model_failed"
    assert b"[DONE]" not in sent.body
    assert sent.has_ended


async def test_a_callers_error_is_a_rejection(reply: Reply, exchange: Exchange) -> None:
    await reply.fail(InvalidRequest("n must be from 1 to 128", param="n"))
    assert exchange.outcome == "rejected"


async def test_a_body_that_cannot_be_finished_is_not_pretended_to_be(reply: Reply, sent: Sent) -> None:
    await reply.begin(200, b"application/json", 100)
    with pytest.raises(ModelFailed):
        await reply.fail(ModelFailed("it went away"))
    assert not sent.has_ended


async def test_nothing_follows_the_end_of_a_stream(reply: Reply, sent: Sent) -> None:
    await reply.begin(200, EVENT_STREAM)
    await reply.end()
    with pytest.raises(ModelFailed):
        await reply.fail(ModelFailed("too late"))
    assert sent.body == b""
