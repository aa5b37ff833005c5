"""The model list: `GET /v1/models` and what can be done to one model."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from catalog.catalog import Target
from catalog.replicas import VariantState, VariantStatus
from deployments.gateway.fleet import Fleet
from deployments.gateway.json_handler import JsonHandler
from router.resolve import model_not_found

# The fixed answer to `created`, which OpenAI's clients require: models have no creation date here.
CREATED = 0


class Models:
    """Handlers of the model endpoints."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self, prefix: str) -> list[Route]:
        """The routes under a prefix such as `/v1`; ids may hold slashes and colons."""
        return [
            Route(f"{prefix}/models", JsonHandler(self.list), methods=["GET"]),
            Route(f"{prefix}/models/{{id:path}}/promote", JsonHandler(self.promote), methods=["POST"]),
            Route(f"{prefix}/models/{{id:path}}/start", JsonHandler(self.start), methods=["POST"]),
            Route(f"{prefix}/models/{{id:path}}/stop", JsonHandler(self.stop), methods=["POST"]),
            Route(f"{prefix}/models/{{id:path}}", JsonHandler(self.get), methods=["GET"]),
        ]

    async def list(self, request: Request) -> tuple[int, dict[str, Any]]:
        data = [self.describe(target) for target in self._fleet.catalog.targets()]
        return 200, {"object": "list", "data": data}

    async def get(self, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, self.describe(self._find(request))

    async def promote(self, request: Request) -> tuple[int, dict[str, Any]]:
        return await self._act("promote", request)

    async def start(self, request: Request) -> tuple[int, dict[str, Any]]:
        return await self._act("start", request)

    async def stop(self, request: Request) -> tuple[int, dict[str, Any]]:
        return await self._act("stop", request)

    async def _act(self, verb: str, request: Request) -> tuple[int, dict[str, Any]]:
        target = self._find(request)
        error = await getattr(self._fleet.manager, verb).remote(target.name)
        if error is not None:
            raise error
        return 202, {"id": target.name, "object": "model", "accepted": verb}

    def _find(self, request: Request) -> Target:
        name = request.path_params["id"]
        target = self._fleet.catalog.find(name)
        if target is None:
            raise model_not_found(self._fleet.catalog, name)
        return target

    def describe(self, target: Target) -> dict[str, Any]:
        """OpenAI's model object, with raymux's fields beside it."""
        statuses = [self._fleet.statuses.get(variant.key) for variant in target.variants]
        is_ready = any(status and status.state is VariantState.READY for status in statuses)
        return {
            "id": target.name,
            "object": "model",
            "created": CREATED,
            "owned_by": "raymux",
            "kind": target.kind,
            "parent": target.base,
            "aliases": list(target.aliases),
            "tasks": [str(task) for task in target.tasks],
            "state": str(_best_state(statuses)),
            "ready": is_ready,
            "endpoint": _endpoint(target),
            "gpu_variants": [variant.settings.shape for variant in target.variants],
        }


_PREFERENCE = (
    VariantState.READY, VariantState.STARTING, VariantState.SCHEDULING, VariantState.DRAINING, VariantState.FAILED,
    VariantState.STOPPED, VariantState.COLD,
)  # fmt: skip


def _best_state(statuses: list[VariantStatus | None]) -> VariantState:
    states = {status.state for status in statuses if status is not None}
    return next((state for state in _PREFERENCE if state in states), VariantState.COLD)


def _endpoint(target: Target) -> str:
    if "generate" in target.tasks:
        return "/v1/chat/completions"
    return "/v1/embeddings" if "embed" in target.tasks else "/v1/rerank"
