"""OpenTelemetry traces: a span for each request, and one each for its wait, its cold start and every attempt.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set; until then raymux makes no spans
and imports nothing of OpenTelemetry (Ray imports its SDK, for metrics of its own). Spans go out by OTLP over HTTP from
a thread with a bounded queue, so a collector that hangs costs spans and never a request. No span holds content.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from deployments.environment import tracing_service
from deployments.gateway.exchange import Exchange

CLOSE_TIMEOUT_S = 2.0


class Tracing:
    """Makes spans with a provider of OpenTelemetry's SDK; None makes none."""

    def __init__(self, provider: Any = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("raymux.gateway") if provider is not None else None

    def begin(self, exchange: Exchange, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A request has come; its span continues the client's trace, if it sent one (W3C Trace Context)."""
        if self._tracer is None:
            return
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        names = (b"traceparent", b"tracestate")
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in names}
        parent = TraceContextTextMapPropagator().extract(carrier)
        span = self._tracer.start_span("request", context=parent, kind=trace.SpanKind.SERVER)
        exchange.span = Span(self._tracer, span)

    def end(self, exchange: Exchange) -> None:
        """The request has ended."""
        if exchange.span is not None:
            exchange.span.end(exchange)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send what is left, once. Blocks; what a collector has not taken after `timeout_s` is lost."""
        provider, self._provider = self._provider, None
        if provider is None:
            return
        # The SDK waits for half a minute. A daemon thread: the process does not wait for it to end.
        closing = threading.Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(timeout_s)


class Span:
    """The span of one request."""

    def __init__(self, tracer: Any, span: Any) -> None:
        from opentelemetry import trace

        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span)
        self._innermost = span
        self._begun_ns = time.time_ns()

    @contextmanager
    def child(self, name: str) -> Iterator[Any]:
        """A span below this one for as long as the block runs; what the block raises is its status."""
        from opentelemetry.trace import Status, StatusCode

        span = self._tracer.start_span(name, context=self._context)
        outer, self._innermost = self._innermost, span
        try:
            yield span
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            self._innermost = outer
            span.end()

    def traceparent(self) -> str:
        """What the engine is told, so that its spans hang below the attempt's."""
        context = self._innermost.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(self, exchange: Exchange) -> None:
        """Write down what is known of the request."""
        from opentelemetry.trace import Status, StatusCode

        usage = exchange.usage
        attributes = {
            "http.request.method": exchange.method,
            "http.response.status_code": exchange.status or None,
            "raymux.request_id": exchange.request_id,
            "raymux.endpoint": exchange.endpoint,
            "raymux.tenant": exchange.caller.tenant,
            "raymux.model": exchange.model,
            "raymux.variant": exchange.variant,
            "raymux.choice": exchange.choice,
            "raymux.outcome": exchange.outcome,
            "raymux.queued_s": exchange.queued_s,
            "raymux.cold_start_s": exchange.cold_start_s,
            "raymux.first_byte_ms": exchange.first_byte_ms,
            "raymux.expected_ms": exchange.expected_ms,
            "raymux.held_ratio": exchange.held_ratio,
            "error.type": exchange.error_code,
            "gen_ai.usage.input_tokens": usage.prompt_tokens if usage else None,
            "gen_ai.usage.output_tokens": usage.completion_tokens if usage else None,
        }
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if exchange.first_byte_ms is not None:
            # Noted now, for nothing is to be done while bytes flow.
            self._span.add_event("first_byte", timestamp=self._begun_ns + round(exchange.first_byte_ms * 1e6))
        if exchange.outcome == "failed":
            self._span.set_status(Status(StatusCode.ERROR, exchange.error_code))
        self._span.end()


@contextmanager
def traced(exchange: Exchange, name: str, **attributes: str) -> Iterator[None]:
    """A child span of the request's while the block runs; nothing when traces are off."""
    if exchange.span is None:
        yield
        return
    with exchange.span.child(name) as span:
        span.set_attributes({f"raymux.{key}": value for key, value in attributes.items()})
        yield


def tracing_from_environment() -> Tracing:
    """As the standard OTEL_* variables say."""
    service = tracing_service()
    if service is None:
        return Tracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Whoever makes it closes it: at exit the SDK would wait for a collector that hangs.
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
