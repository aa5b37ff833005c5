from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from catalog.errors import EmptyResponse, InvalidRequest, UpstreamError
from catalog.replicas import ReplicaReport
from deployments.gateway import relay as relay_module
from deployments.gateway.exchange import Exchange, HttpReply
from deployments.gateway.relay import MAX_ERROR_BYTES, Relay, ReplicaDraining, ReplicaGone
from deployments.wire import Usage, decode_adapter, usage_trailer
from tests.unit.builders import Sent, adapter, until
from tests.unit.deployments.gateway.scripted_replica import (
    Replica,
    Script,
    chunk,
    head,
    pieces,
    stream_head,
    whole,
)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay(connect_timeout_s=5)
    yield relay
    await relay.close()


class Sending:
    """One request through the relay."""

    def __init__(self) -> None:
        self.sent = Sent()
        self.exchange = Exchange("req-1", "POST", "/v1/chat/completions")
        self.reply = HttpReply(self.sent, self.exchange)

    async def to(
        self, relay: Relay, replica: ReplicaReport, headers: dict[bytes, bytes] | None = None, **more
    ) -> Sending:
        spec = more.get("adapter")
        async with asyncio.timeout(more.get("timeout_s")) as patience:
            await relay.send(
                replica,
                "/v1/chat/completions",
                headers or {},
                b'{"model": "m"}',
                spec,
                self.exchange,
                self.reply,
                patience,
            )
        return self


TRAILER = usage_trailer(Usage(7, 2, 1.5, 9.5))


async def test_a_whole_reply_passes_byte_for_byte_with_its_usage_noted(relay: Relay) -> None:
    body = b'{"choices":  [1]}\n'
    async with Replica(whole(body, x_raymux_usage="[7, 2, 1.5, 9.5]", server="uvicorn")) as replica:
        sending = await Sending().to(relay, replica.report)
    assert (sending.sent.status, sending.sent.body, sending.sent.has_ended) == (200, body, True)
    assert sending.exchange.usage == Usage(7, 2, 1.5, 9.5)
    assert set(sending.sent.headers) == {"content-type", "content-length", "x-request-id"}


async def test_a_stream_passes_byte_for_byte_without_its_trailer(relay: Relay) -> None:
    script = pieces(stream_head(), chunk(b"data: 1\n\n"), chunk(b"data: [DONE]\n\n"), chunk(TRAILER), b"0\r\n\r\n")
    async with Replica(script) as replica:
        sending = await Sending().to(relay, replica.report)
    assert sending.sent.body == b"data: 1\n\ndata: [DONE]\n\n"
    assert sending.sent.has_ended
    assert sending.exchange.usage == Usage(7, 2, 1.5, 9.5)


async def test_a_piece_of_a_stream_is_passed_on_before_the_next_one_exists(relay: Relay) -> None:
    may_go_on = asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> bool:
        writer.write(stream_head() + chunk(b"data: 1\n\n"))
        await may_go_on.wait()
        writer.write(chunk(b"data: 2\n\n" + TRAILER) + b"0\r\n\r\n")
        return True

    class Watching(Sent):
        async def __call__(self, message) -> None:
            await super().__call__(message)
            if message.get("body") == b"data: 1\n\n":
                may_go_on.set()

    sending = Sending()
    sending.sent = Watching()
    sending.reply = HttpReply(sending.sent, sending.exchange)
    async with Replica(script) as replica:
        await sending.to(relay, replica.report)
    assert sending.sent.body == b"data: 1\n\ndata: 2\n\n"


async def test_the_replica_gets_the_body_as_it_is_and_no_header_but_those_it_needs(relay: Relay) -> None:
    headers = {
        b"authorization": b"Bearer sk-client", b"cookie": b"a=b", b"x-raymux-secret": b"forged",
        b"x-raymux-adapter": b"forged", b"x-forwarded-for": b"1.2.3.4", b"user-agent": b"curl",
        b"traceparent": b"00-ab-cd-01", b"accept": b"text/event-stream",
    }  # fmt: skip
    async with Replica(whole(b"{}")) as replica:
        await Sending().to(relay, replica.report, headers, adapter=adapter())
    received, body = replica.requests[0]
    assert received[""] == "POST /v1/chat/completions HTTP/1.1"
    assert body == b'{"model": "m"}'
    assert received["x-raymux-secret"] == "s3cret"
    assert decode_adapter(received["x-raymux-adapter"].encode()) == adapter()
    assert received["x-request-id"] == "req-1"
    assert received["x-raymux-ongoing"] == "1"
    assert received["traceparent"] == "00-ab-cd-01"
    assert set(received) == {
        "", "host", "accept", "traceparent", "content-type", "content-length", "x-raymux-secret", "x-raymux-adapter",
        "x-request-id", "x-raymux-ongoing",
    }  # fmt: skip


async def test_a_replica_learns_how_many_requests_its_gateway_has_under_way(relay: Relay) -> None:
    async with Replica(silence) as busy, Replica(whole(b"{}")) as replica:
        waiting = [asyncio.create_task(Sending().to(relay, busy.report)) for _ in range(2)]
        await until(lambda: len(busy.requests) == 2)
        await Sending().to(relay, replica.report)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await Sending().to(relay, replica.report)
    assert [headers["x-raymux-ongoing"] for headers, _ in replica.requests] == ["3", "1"]


async def test_connections_are_used_again_after_a_whole_reply(relay: Relay) -> None:
    async with Replica(whole(b"{}")) as replica:
        for _ in range(5):
            await Sending().to(relay, replica.report)
        assert replica.num_connections == 1


async def test_a_replica_that_is_gone_lets_another_one_take_the_request(relay: Relay) -> None:
    async with Replica(whole(b"{}")) as replica:
        gone = replica.report
    sending = Sending()
    with pytest.raises(ReplicaGone) as caught:
        await sending.to(relay, gone)
    assert not caught.value.was_sent
    assert sending.sent.messages == []


async def test_a_replica_that_hangs_up_before_its_reply_lets_another_one_take_the_request(relay: Relay) -> None:
    async with Replica(pieces()) as replica:
        with pytest.raises(ReplicaGone) as caught:
            await Sending().to(relay, replica.report)
    assert caught.value.was_sent


async def test_a_replica_whose_engine_died_counts_as_gone_with_the_request(relay: Relay) -> None:
    """So that one which kills engines is not sent to each of them."""
    async with Replica(whole(b"{}", "503 Service Unavailable", x_raymux_retry="engine died")) as replica:
        with pytest.raises(ReplicaGone) as caught:
            await Sending().to(relay, replica.report)
    assert caught.value.was_sent


async def test_a_draining_replica_lets_another_one_take_the_request(relay: Relay) -> None:
    sending = Sending()
    async with Replica(whole(b"{}", "503 Service Unavailable", x_raymux_retry="draining")) as replica:
        with pytest.raises(ReplicaDraining):
            await sending.to(relay, replica.report)
    assert sending.sent.messages == []


@pytest.mark.parametrize(
    "script",
    [
        pieces(stream_head(), chunk(b"data: 1\n\n"), b"5\r\nab"),
        pieces(stream_head(), chunk(b"data: 1\n\n")),
    ],
    ids=["in a piece", "between pieces"],
)
async def test_an_engine_that_breaks_off_is_an_error_after_the_bytes_it_sent(relay: Relay, script: Script) -> None:
    sending = Sending()
    async with Replica(script) as replica:
        with pytest.raises(UpstreamError, match="middle of its reply"):
            await sending.to(relay, replica.report)
    assert sending.sent.body.startswith(b"data: 1\n\n")
    assert not sending.sent.has_ended


@pytest.mark.parametrize(
    "script",
    [pieces(head(content_type="application/json", content_length="10") + b"{"), pieces(stream_head())],
    ids=["a whole reply", "a stream before its first event"],
)
async def test_a_reply_that_breaks_off_before_its_first_byte_was_sent_may_come_from_another_replica(
    relay: Relay, script: Script
) -> None:
    sending = Sending()
    async with Replica(script) as replica:
        with pytest.raises(ReplicaGone) as caught:
            await sending.to(relay, replica.report)
    assert caught.value.was_sent
    assert sending.sent.messages == []


async def silence(writer: asyncio.StreamWriter) -> bool:
    await asyncio.Event().wait()
    return False


async def test_a_reply_that_does_not_begin_in_time_ends_the_wait_and_one_that_began_takes_its_time(
    relay: Relay,
) -> None:
    async with Replica(silence) as replica:
        with pytest.raises(TimeoutError):
            await Sending().to(relay, replica.report, timeout_s=0.05)

    async def slowly(writer: asyncio.StreamWriter) -> bool:
        writer.write(stream_head() + chunk(b"data: 1\n\n"))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(chunk(b"data: 2\n\n") + b"0\r\n\r\n")
        return True

    async with Replica(slowly) as replica:
        sending = await Sending().to(relay, replica.report, timeout_s=0.08)
    assert sending.sent.body == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize(
    "script",
    [pieces(stream_head(), b"0\r\n\r\n"), pieces(stream_head(), chunk(TRAILER), b"0\r\n\r\n"), whole(b"")],
    ids=["no events", "a trailer only", "no body"],
)
async def test_an_empty_reply_is_an_error(relay: Relay, script: Script) -> None:
    sending = Sending()
    async with Replica(script) as replica:
        with pytest.raises(EmptyResponse):
            await sending.to(relay, replica.report)
    assert sending.sent.messages == []


async def test_a_refusal_is_told_in_raymux_shape(relay: Relay) -> None:
    body = json.dumps({"error": {"message": "temperature must be non-negative", "param": "temperature"}}).encode()
    async with Replica(whole(body, "400 Bad Request")) as replica:
        with pytest.raises(InvalidRequest, match="temperature must be non-negative") as caught:
            await Sending().to(relay, replica.report)
    assert caught.value.param == "temperature"


async def test_a_refusal_that_comes_in_pieces_is_read_to_its_end(relay: Relay) -> None:
    body = json.dumps({"error": {"message": "temperature must be non-negative"}}).encode()
    start = head("400 Bad Request", "application/json", content_length=str(len(body)))
    async with Replica(pieces(start, body[:20], body[20:40], body[40:])) as replica:
        with pytest.raises(InvalidRequest, match="temperature must be non-negative"):
            await Sending().to(relay, replica.report)


async def test_a_refusal_without_end_is_not_read_for_ever(relay: Relay) -> None:
    async def script(writer: asyncio.StreamWriter) -> bool:
        writer.write(head("400 Bad Request", transfer_encoding="chunked"))
        try:
            while True:
                writer.write(chunk(b"x" * MAX_ERROR_BYTES))
                await writer.drain()
        except ConnectionError:
            return False

    async with Replica(script) as replica:
        with pytest.raises(InvalidRequest):
            await Sending().to(relay, replica.report)


async def test_a_redirect_is_not_followed(relay: Relay) -> None:
    async with Replica(whole(b"{}", "307 Temporary Redirect", location="http://127.0.0.1:1/")) as replica:
        await Sending().to(relay, replica.report)
    assert len(replica.requests) == 1


async def test_a_client_that_leaves_closes_the_connection_so_that_the_engine_stops(relay: Relay) -> None:
    begun = asyncio.Event()

    async def script(writer: asyncio.StreamWriter) -> bool:
        writer.write(stream_head() + chunk(b"data: 1\n\n"))
        begun.set()
        return True

    async with Replica(script) as replica:
        sending = Sending()
        running = asyncio.create_task(sending.to(relay, replica.report))
        await begun.wait()
        await until(lambda: sending.sent.body)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await replica.client_has_left.wait()


async def test_a_stream_that_comments_have_begun_goes_on_in_the_same_stream(relay: Relay) -> None:
    sending = Sending()
    await sending.reply.comment("raymux starting")
    script = pieces(stream_head(), chunk(b"data: 1\n\n"), b"0\r\n\r\n")
    async with Replica(script) as replica:
        await sending.to(relay, replica.report)
    assert sending.sent.body == b": raymux starting\n\ndata: 1\n\n"
    assert sum(message["type"] == "http.response.start" for message in sending.sent.messages) == 1


# The engine's metrics


async def test_an_engine_s_metrics_are_asked_for_with_the_replica_s_secret(relay: Relay) -> None:
    async with Replica(whole(b"vllm:requests 1\n")) as replica:
        assert await relay.metrics(replica.report) == "vllm:requests 1\n"
        ((headers, _),) = replica.requests
        assert (headers[""], headers["x-raymux-secret"]) == ("GET /metrics HTTP/1.1", "s3cret")


async def test_an_engine_without_metrics_has_none(relay: Relay) -> None:
    async with Replica(whole(b"{}", "404 Not Found")) as replica:
        assert await relay.metrics(replica.report) == ""


async def test_the_metrics_of_a_replica_that_hangs_are_not_waited_for(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "METRICS_TIMEOUT_S", 0.01)

    async def hang(writer: asyncio.StreamWriter) -> bool:
        await asyncio.Event().wait()
        return False

    async with Replica(hang) as replica:
        with pytest.raises(ReplicaGone):
            await relay.metrics(replica.report)
