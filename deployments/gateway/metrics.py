"""What a gateway counts. Labels come from catalog, routes and error tree, never from what a client sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from deployments.gateway.exchange import Exchange
from deployments.metric_families import Labels, Snapshot, samples_of, snapshot, update

_Metric = TypeVar("_Metric", Counter, Histogram)

# Milliseconds; from a cached answer to a long generation.
_DURATION_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)
_FIRST_TOKEN_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
_PER_TOKEN_MS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 200, 500, 1_000)

NO_MODEL = "none"


class GatewayMetrics:
    """The counters of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._queue_depth: Callable[[], dict[str, int]] = dict
        # What has counted something since the last `changes`, by metric and labels.
        self._touched: dict[tuple[MetricWrapperBase, Labels], MetricWrapperBase] = {}
        registry = self.registry
        self._requests = Counter(
            "inference_requests",
            "Requests that have ended.",
            ("model", "endpoint", "status", "outcome"),
            registry=registry,
        )
        self._duration_ms = Histogram(
            "inference_request_duration_ms",
            "Time from a request's arrival to the end of its reply, milliseconds.",
            ("model", "endpoint"),
            buckets=_DURATION_MS,
            registry=registry,
        )
        self._errors_5xx = Counter(
            "inference_errors_5xx",
            "Requests that ended in an error of the server.",
            ("model", "code"),
            registry=registry,
        )
        self._first_token_ms = Histogram(
            "inference_time_to_first_token_ms",
            "Time from a request's arrival to the first byte of its reply, milliseconds.",
            ("model",),
            buckets=_FIRST_TOKEN_MS,
            registry=registry,
        )
        self._per_token_ms = Histogram(
            "inference_time_per_output_token_ms",
            "Mean time between the tokens of a reply after its first one, milliseconds.",
            ("model",),
            buckets=_PER_TOKEN_MS,
            registry=registry,
        )
        self._tokens = Counter(
            "inference_tokens", "Tokens of prompts and completions.", ("model", "tenant", "kind"), registry=registry
        )
        self._cache_hits = Counter(
            "inference_cache_hits", "Requests answered from the cache.", ("model",), registry=registry
        )
        self._cache_misses = Counter(
            "inference_cache_misses", "Cacheable requests that were not in the cache.", ("model",), registry=registry
        )
        self._breakers = Counter(
            "circuit_breaker_open", "Times that a circuit breaker has opened.", ("kind",), registry=registry
        )
        self._queued = Gauge(
            "inference_queue_depth", "Requests that wait for a full model.", ("model",), registry=registry
        )
        self._in_flight = Gauge("inference_requests_in_flight", "Requests that have not ended.", registry=registry)

    def watch_queue(self, depth: Callable[[], dict[str, int]]) -> None:
        """Read the queues' depth, by model, from there."""
        self._queue_depth = depth

    def begun(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def ended(self, exchange: Exchange, total_ms: float) -> None:
        """A request has ended, however. Only requests to inference endpoints are counted by model."""
        self._in_flight.dec()
        if exchange.endpoint is None:
            return
        model, endpoint = exchange.model or NO_MODEL, exchange.endpoint
        self._of(
            self._requests,
            ("model", model),
            ("endpoint", endpoint),
            ("status", str(exchange.status)),
            ("outcome", exchange.outcome),
        ).inc()
        self._of(self._duration_ms, ("model", model), ("endpoint", endpoint)).observe(total_ms)
        if exchange.outcome == "failed":
            self._of(self._errors_5xx, ("model", model), ("code", exchange.error_code or "internal_error")).inc()
        if exchange.first_byte_ms is not None:
            self._of(self._first_token_ms, ("model", model)).observe(exchange.first_byte_ms)
        usage = exchange.usage
        if usage is None:
            return
        tenant = exchange.caller.tenant
        self._of(self._tokens, ("model", model), ("tenant", tenant), ("kind", "prompt")).inc(usage.prompt_tokens)
        self._of(self._tokens, ("model", model), ("tenant", tenant), ("kind", "completion")).inc(
            usage.completion_tokens
        )
        if usage.completion_tokens > 1 and exchange.first_byte_ms is not None:
            rest_ms = max(0.0, total_ms - exchange.first_byte_ms)
            self._of(self._per_token_ms, ("model", model)).observe(rest_ms / (usage.completion_tokens - 1))

    def cache_hit(self, model: str) -> None:
        self._of(self._cache_hits, ("model", model)).inc()

    def cache_missed(self, model: str) -> None:
        self._of(self._cache_misses, ("model", model)).inc()

    def breaker_opened(self, kind: str) -> None:
        """`kind`: `replica` or `provider`."""
        self._of(self._breakers, ("kind", kind)).inc()

    async def all(self) -> Snapshot:
        """What has been counted since the process began.

        In a thread: after a thousand models it takes half a second, for which streams cannot wait.
        """
        self._read_queues()
        self._touched = {}
        return await asyncio.to_thread(snapshot, self.registry)

    async def changes(self) -> Snapshot:
        """What is another value than at the last call of this or of `all`: whole values, not differences.

        In a thread too: a hundred models that had requests since take ten milliseconds.
        """
        self._read_queues()
        touched, self._touched = self._touched, {}
        return await asyncio.to_thread(self._samples, touched)

    def _samples(self, touched: dict[tuple[MetricWrapperBase, Labels], MetricWrapperBase]) -> Snapshot:
        changes = samples_of(self._queued, {})
        update(changes, samples_of(self._in_flight, {}))
        for (_, labels), child in touched.items():
            update(changes, samples_of(child, dict(labels)))
        return changes

    def _of(self, metric: _Metric, *labels: tuple[str, str]) -> _Metric:
        child = self._touched.get((metric, labels))
        if child is None:
            child = self._touched[metric, labels] = metric.labels(**dict(labels))
        return child  # pyright: ignore[reportReturnType]

    def _read_queues(self) -> None:
        self._queued.clear()
        for model, depth in self._queue_depth().items():
            self._queued.labels(model).set(depth)
