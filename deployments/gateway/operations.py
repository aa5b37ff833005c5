"""What operators and load balancers ask: `/`, `/health`, `/ready` and `/v1/status`."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request

from catalog.errors import GatewayNotReady
from catalog.keys import Access
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.json_handler import JsonHandler
from deployments.gateway.services import Services
from deployments.gateway.status import StatusPage
from router.endpoints import ENDPOINTS

OPERATIONS = (
    "GET /health", "GET /ready", "GET /v1/status", "GET /v1/models", "POST /v1/models", "GET /v1/models/{id}",
    "DELETE /v1/models/{id}", "POST /v1/models/{id}/start", "POST /v1/models/{id}/stop",
    "POST /v1/models/{id}/promote", "POST /v1/warmup", "GET /v1/warmup", "GET /v1/warmup/{id}",
    "DELETE /v1/warmup/{id}", "GET /v1/gpus", "POST /v1/gpus/validate", "GET /v1/events", "GET /dashboard",
    "GET /metrics", "GET /metrics/engines", "GET /openapi.json", "POST /webhooks/ingest",
    "GET /webhooks", "GET /webhooks/sent",
    "GET /v1/files", "POST /v1/files", "GET /v1/files/{id}", "GET /v1/files/{id}/content", "DELETE /v1/files/{id}",
    "GET /v1/fine_tuning/jobs", "POST /v1/fine_tuning/jobs", "GET /v1/fine_tuning/jobs/{id}",
    "GET /v1/fine_tuning/jobs/{id}/events", "GET /v1/fine_tuning/jobs/{id}/checkpoints",
    "POST /v1/fine_tuning/jobs/{id}/cancel", "POST /v1/fine_tuning/jobs/{id}/pause",
    "POST /v1/fine_tuning/jobs/{id}/resume",
    "POST /v1/infer", "POST /v1/infer/stream", "POST /api/inference/chat",
    "GET /api/services",
    "POST /api/services/{id}/start", "POST /api/services/{id}/stop", "POST /embed", "POST /chat", "POST /rerank",
)  # fmt: skip


class Operations:
    """Handlers of the endpoints that are not about a single model."""

    def __init__(self, services: Services) -> None:
        self._fleet = services.fleet
        self._redis = services.redis
        self._status = StatusPage(services.fleet, lambda: services.admission.num_queued)

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

    async def status(self, request: Request) -> tuple[int, bytes]:
        return 200, self._status.body(request.scope["exchange"].caller)
