"""Traces reach a collector that speaks OTLP, continue the client's, and never cost a request."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from catalog.errors import UpstreamError
from catalog.replicas import ReplicaReport
from deployments.gateway import dispatch
from deployments.gateway.exchange import EVENT_STREAM, Exchange, Reply
from deployments.gateway.relay import _headers
from deployments.gateway.tracing import Tracing, tracing_from_environment
from tests.unit.builders import CHAT, report, settle
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes what exporters post to `/v1/traces`; `hold` makes it hang."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.hold = threading.Event()
        self.hold.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.hold.wait(10)
                assert self.path == "/v1/traces"
                assert self.headers["content-type"] == "application/x-protobuf"
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
async def gateway(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayUnderTest]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    # What is left is sent at the end, and sending is tried again for as long as this.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    gateway = GatewayUnderTest(tracing_from_environment())
    await settle()
    await gateway.publish(report("r1"), report("r2"))
    yield gateway
    await gateway.close()
    gateway.services.tracing.close(timeout_s=0.2)


async def exported(collector: Collector, number: int) -> list[Any]:
    deadline_s = time.monotonic() + 5
    while len(collector.spans()) < number:
        assert time.monotonic() < deadline_s, f"{len(collector.spans())} spans came, not {number}"
        await asyncio.sleep(0.01)
    return collector.spans()


async def test_a_request_and_its_attempts_are_one_trace_below_the_client_s(
    gateway: GatewayUnderTest, collector: Collector
) -> None:
    gateway.relay.script = [dispatch.ReplicaGone()]
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "authorization": "Bearer a-secret"}
    assert (await gateway.chat(sent, messages=[{"role": "user", "content": "a-secret-prompt"}])).status_code == 200
    spans = {(span.name, span.status.code): span for span in await exported(collector, 3)}
    request, failed, answered = spans["request", 0], spans["attempt", 2], spans["attempt", 0]
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert request.parent_span_id.hex() == PARENT
    assert failed.parent_span_id == answered.parent_span_id == request.span_id
    told = attributes(request)
    assert (told["raymux.model"], told["raymux.choice"], told["http.response.status_code"]) == (CHAT, "warm", 200)
    assert attributes(answered)["raymux.choice"] == "warm"
    assert (told["raymux.expected_ms"] > 0, told["raymux.held_ratio"]) == (True, 0)
    assert [event.name for event in request.events] == []
    assert "a-secret" not in str(collector.requests)


async def test_a_stream_s_first_byte_is_an_event_within_its_span(
    gateway: GatewayUnderTest, collector: Collector
) -> None:
    async def stream(reply: Reply) -> None:
        await reply.begin(200, EVENT_STREAM)
        await reply.write(b"data: 1\n\n")
        await reply.end()

    gateway.relay.script = [stream]
    await gateway.chat(stream=True)
    request = next(span for span in await exported(collector, 2) if span.name == "request")
    (event,) = request.events
    assert event.name == "first_byte"
    assert request.start_time_unix_nano <= event.time_unix_nano <= request.end_time_unix_nano + 10**6


async def test_a_collector_that_is_not_there_costs_no_request(gateway: GatewayUnderTest, collector: Collector) -> None:
    collector.close()
    assert {(await gateway.chat()).status_code for _ in range(20)} == {200}


async def test_an_error_is_the_span_s_status(gateway: GatewayUnderTest, collector: Collector) -> None:
    gateway.relay.script = [UpstreamError("broken")]
    await gateway.chat()
    spans = {span.name: span for span in await exported(collector, 2)}
    assert spans["request"].status.code == 2
    assert attributes(spans["request"])["error.type"] == "upstream_error"


async def test_the_engine_s_spans_hang_below_the_attempt_s(gateway: GatewayUnderTest, collector: Collector) -> None:
    seen: list[str] = []

    async def engine(reply: Reply) -> None:
        replica: ReplicaReport = report("r1")
        told = _headers(replica, {b"traceparent": b"the client's"}, None, reply.exchange)
        seen.append(told[b"traceparent"].decode())
        await reply.whole(200, {})

    gateway.relay.script = [engine]
    await gateway.chat()
    attempt = next(span for span in await exported(collector, 2) if span.name == "attempt")
    (told,) = seen
    assert told.startswith(f"00-{attempt.trace_id.hex()}-{attempt.span_id.hex()}-")


async def test_a_collector_that_hangs_costs_no_request(gateway: GatewayUnderTest, collector: Collector) -> None:
    collector.hold.clear()
    begun_s = time.monotonic()
    codes = {(await gateway.chat()).status_code for _ in range(200)}
    assert codes == {200}
    assert time.monotonic() - begun_s < 5
    collector.hold.set()


def test_what_is_left_goes_out_when_the_gateway_ends(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    tracing = tracing_from_environment()
    exchange = Exchange("r", "POST", "/")
    tracing.begin(exchange, [])
    tracing.end(exchange)
    assert collector.spans() == []
    tracing.close()
    assert [span.name for span in collector.spans()] == ["request"]


def test_a_collector_that_hangs_does_not_keep_the_gateway(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    collector.hold.clear()
    tracing = tracing_from_environment()
    exchange = Exchange("r", "POST", "/")
    tracing.begin(exchange, [])
    tracing.end(exchange)
    begun_s = time.monotonic()
    tracing.close(timeout_s=0.1)
    # The collector would hold it for ten seconds, and the SDK wait for thirty.
    assert time.monotonic() - begun_s < 5
    assert collector.spans() == []


def test_without_an_endpoint_there_are_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    exchange = Exchange("r", "POST", "/")
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        # Ray imports the SDK for itself; what raymux imports would be found missing.
        monkeypatch.setitem(sys.modules, name, None)
    for tracing in (tracing_from_environment(), Tracing()):
        tracing.begin(exchange, [])
        tracing.end(exchange)
    assert exchange.span is None
