"""What operators and load balancers ask: `/`, `/health`, `/ready` and `/v1/status`."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

from starlette.requests import Request

from catalog.errors import GatewayNotReady
from catalog.keys import Access
from catalog.replicas import ReplicaReport
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.json_handler import JsonHandler
from deployments.gateway.services import Services
from router.endpoints import ENDPOINTS

OPERATIONS = (
    "GET /health", "GET /ready", "GET /v1/status", "GET /v1/models", "POST /v1/models", "GET /v1/models/{id}",
    "DELETE /v1/models/{id}", "POST /v1/models/{id}/start", "POST /v1/models/{id}/stop",
    "POST /v1/models/{id}/promote", "POST /v1/warmup", "GET /v1/warmup", "GET /v1/warmup/{id}",
    "DELETE /v1/warmup/{id}", "GET /v1/gpus", "POST /v1/gpus/validate",
    "GET /metrics", "GET /metrics/engines", "GET /openapi.json", "POST /webhooks/ingest",
    "GET /webhooks", "GET /webhooks/sent",
    "POST /v1/infer", "POST /v1/infer/stream", "POST /api/inference/chat",
    "GET /api/services",
    "POST /api/services/{id}/start", "POST /api/services/{id}/stop", "POST /embed", "POST /chat", "POST /rerank",
)  # fmt: skip


class Operations:
    """Handlers of the endpoints that are not about a single model."""

    def __init__(self, services: Services) -> None:
        self._fleet = services.fleet
        self._redis = services.redis
        self._admission = services.admission

    def routes(self) -> list[GuardedRoute]:
        return [
            GuardedRoute("/", JsonHandler(self.index), methods=["GET"], access=Access.PUBLIC),
            GuardedRoute("/health", JsonHandler(self.health), methods=["GET", "POST"], access=Access.PUBLIC),
            GuardedRoute("/v1/health", JsonHandler(self.health), methods=["GET", "POST"], access=Access.PUBLIC),
            GuardedRoute("/ready", JsonHandler(self.ready), methods=["GET"], access=Access.PUBLIC),
            GuardedRoute("/v1/ready", JsonHandler(self.ready), methods=["GET"], access=Access.PUBLIC),
            GuardedRoute("/v1/status", JsonHandler(self.status), methods=["GET"], access=Access.KEY),
            GuardedRoute("/status", JsonHandler(self.status), methods=["GET"], access=Access.KEY),
        ]

    async def index(self, request: Request) -> tuple[int, dict[str, Any]]:
        inference = [f"POST {endpoint.path}" for endpoint in ENDPOINTS]
        return 200, {"name": "raymux", "endpoints": [*inference, *OPERATIONS]}

    async def health(self, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, {"status": "ok"}

    async def ready(self, request: Request) -> tuple[int, dict[str, Any]]:
        if not self._fleet.is_ready:
            raise GatewayNotReady("The gateway has not received its catalog yet.", retry_after_s=1)
        silent_s = round(time.time() - self._fleet.seen_manager_at_s, 1)
        redis = self._redis()
        shared = {} if redis is None else {"redis": "available" if redis.is_available else "unavailable"}
        return 200, {"status": "ready", "manager_seen_s_ago": silent_s, **shared}

    async def status(self, request: Request) -> tuple[int, dict[str, Any]]:
        caller = request.scope["exchange"].caller
        keys = [key for key in self._fleet.catalog.variants if caller.may_use(key.rpartition("@")[0])]
        queued = self._admission.num_queued
        variants = [self._variant(key, queued.get(key.rpartition("@")[0], 0)) for key in keys]
        return 200, {"object": "status", "variants": variants}

    def _variant(self, key: str, num_queued: int) -> dict[str, Any]:
        model, _, shape = key.rpartition("@")
        status = self._fleet.statuses.get(key)
        replicas = [_replica(report, self._fleet.expectations(report)) for report in self._fleet.replicas(key)]
        entry: dict[str, Any] = {"model": model, "variant": shape, "state": "cold", "replicas": replicas}
        # Those of its model, in this gateway; which variant takes them is decided when it is their turn.
        entry["num_queued"] = num_queued
        if status is None:
            return entry
        entry |= {
            "state": str(status.state),
            "step": status.step and str(status.step),
            "since_s": round(time.time() - status.since_s, 1),
            "expected_start_s": status.expected_start_s,
            "num_starts": status.num_starts,
            "chosen_because": status.chosen_because or None,
            "decisions": [decision._asdict() for decision in status.decisions],
            "last_cold_start": status.last_start and dataclasses.asdict(status.last_start),
            "last_error": status.last_error or None,
            "retry_in_s": _seconds_until(status.retry_at_s) if status.retry_at_s else None,
            "num_running": sum(replica["running"] for replica in replicas),
            "num_waiting": sum(replica["waiting"] for replica in replicas),
        }
        return entry


def _seconds_until(at_s: float) -> float:
    """Tenths of a second, rounded up: 0 only when the time has come."""
    return math.ceil(max(0.0, at_s - time.time()) * 10) / 10


def _replica(report: ReplicaReport, expected: dict[str, float] | None) -> dict[str, Any]:
    """A replica for operators; its address and secret stay inside the cluster.

    `expected` is what this gateway goes by when it chooses; null where it has had nothing to choose.
    """
    return {
        "id": report.replica_id,
        "state": str(report.state),
        "step": report.step and str(report.step),
        "node": report.node,
        "pid": report.pid,
        "running": report.running,
        "waiting": report.waiting,
        "kv_usage_ratio": round(report.kv_usage_ratio, 4),
        "adapters": list(report.adapters),
        "is_asleep": report.is_asleep,
        "expected": expected,
    }
