"""What a gateway counts. Labels come from catalog, routes and error tree, never from what a client sends."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deployments.gateway.exchange import Exchange

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
        self._num_changes = 0
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
        self._num_changes += 1
        self._in_flight.inc()

    def ended(self, exchange: Exchange, total_ms: float) -> None:
        """A request has ended, however. Only requests to inference endpoints are counted by model."""
        self._num_changes += 1
        self._in_flight.dec()
        if exchange.endpoint is None:
            return
        model, endpoint = exchange.model or NO_MODEL, exchange.endpoint
        self._requests.labels(model, endpoint, str(exchange.status), exchange.outcome).inc()
        self._duration_ms.labels(model, endpoint).observe(total_ms)
        if exchange.outcome == "failed":
            self._errors_5xx.labels(model, exchange.error_code or "internal_error").inc()
        if exchange.first_byte_ms is not None:
            self._first_token_ms.labels(model).observe(exchange.first_byte_ms)
        usage = exchange.usage
        if usage is None:
            return
        tenant = exchange.caller.tenant
        self._tokens.labels(model, tenant, "prompt").inc(usage.prompt_tokens)
        self._tokens.labels(model, tenant, "completion").inc(usage.completion_tokens)
        if usage.completion_tokens > 1 and exchange.first_byte_ms is not None:
            self._per_token_ms.labels(model).observe(
                max(0.0, total_ms - exchange.first_byte_ms) / (usage.completion_tokens - 1)
            )

    def cache_hit(self, model: str) -> None:
        self._num_changes += 1
        self._cache_hits.labels(model).inc()

    def cache_missed(self, model: str) -> None:
        self._num_changes += 1
        self._cache_misses.labels(model).inc()

    def breaker_opened(self, kind: str) -> None:
        """`kind`: `replica` or `provider`."""
        self._num_changes += 1
        self._breakers.labels(kind).inc()

    def state(self) -> tuple[int, dict[str, int]]:
        """Differs from an earlier one if anything was counted since; costs nothing beside reading the registry."""
        return self._num_changes, self._queue_depth()

    def read_queues(self) -> None:
        """Take over the queues' depths; to be called before the registry is read."""
        self._queued.clear()
        for model, depth in self._queue_depth().items():
            self._queued.labels(model).set(depth)
