"""The model list: `GET /v1/models` and what can be done to one model."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator
from typing import Any

from cachetools import LRUCache
from starlette.requests import Request

from catalog.catalog import Target
from catalog.keys import Access
from catalog.replicas import VariantState, VariantStatus
from deployments.gateway.fleet import Fleet
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.json_body import read_object
from deployments.gateway.json_handler import JsonHandler
from deployments.gateway.providers import Providers
from router.resolve import find

# The fixed answer to `created`, which OpenAI's clients require: models have no creation date here.
CREATED = 0
# Lists for callers with different models; one of a thousand models has half a megabyte.
MAX_LISTS = 8


class Models:
    """Handlers of the model endpoints."""

    def __init__(self, fleet: Fleet, providers: Providers) -> None:
        self._fleet = fleet
        self._providers = providers
        # By the models that a caller may use: what the list was made of, and the list.
        self._lists: LRUCache[tuple[str, ...], tuple[object, bytes]] = LRUCache(MAX_LISTS)

    def routes(self, prefix: str) -> list[GuardedRoute]:
        """The routes under a prefix such as `/v1`; ids may hold slashes and colons."""
        return [
            GuardedRoute(f"{prefix}/models", JsonHandler(self.list), methods=["GET"], access=Access.KEY),
            GuardedRoute(f"{prefix}/models", JsonHandler(self.register), methods=["POST"]),
            GuardedRoute(f"{prefix}/models/{{id:path}}/promote", JsonHandler(self.promote), methods=["POST"]),
            GuardedRoute(f"{prefix}/models/{{id:path}}/start", JsonHandler(self.start), methods=["POST"]),
            GuardedRoute(f"{prefix}/models/{{id:path}}/stop", JsonHandler(self.stop), methods=["POST"]),
            GuardedRoute(f"{prefix}/models/{{id:path}}", JsonHandler(self.get), methods=["GET"], access=Access.KEY),
            GuardedRoute(f"{prefix}/models/{{id:path}}", JsonHandler(self.deregister), methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> tuple[int, bytes]:
        """All models; encoded once for as long as they stand as they do, for there may be thousands."""
        allowed, made_of = request.scope["exchange"].caller.models, self.version
        known = self._lists.get(allowed)
        if known is None or known[0] != made_of:
            data = [self.describe(target) for target in self.permitted(request)]
            known = self._lists[allowed] = made_of, json.dumps({"object": "list", "data": data}).encode()
        return 200, known[1]

    @property
    def version(self) -> object:
        """Equals an earlier one for as long as every model is described as it was then. Raises GatewayNotReady."""
        return self._fleet.states_version, [self._providers.is_ready(each) for each in self._fleet.catalog.provided]

    def permitted(self, request: Request) -> Iterator[Target]:
        """The models that the caller may use."""
        caller = request.scope["exchange"].caller
        return (target for target in self._fleet.catalog.targets() if caller.may_use(target.name))

    def num_ready(self, name: str) -> int:
        """Replicas of a model that take requests, over all its variants."""
        target = find(self._fleet.catalog, name)
        return sum(len(self._fleet.ready(variant)) for variant in target.variants)

    async def get(self, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, self.describe(self._find(request))

    async def register(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Add a model, an adapter or a checkpoint: the fields that its entry in the configuration would have."""
        fleet = self._fleet
        name: str = await fleet.ask(fleet.manager.register.remote(await read_object(request)))
        await fleet.until(lambda: fleet.catalog.find(name) is not None)
        return 201, self.describe(find(fleet.catalog, name))

    async def deregister(self, request: Request) -> tuple[int, dict[str, Any]]:
        fleet, name = self._fleet, self._find(request).name
        await fleet.ask(fleet.manager.deregister.remote(name))
        await fleet.until(lambda: fleet.catalog.find(name) is None)
        return 200, {"id": name, "object": "model", "deleted": True}

    async def promote(self, request: Request) -> tuple[int, dict[str, Any]]:
        target = self._find(request)
        return await self._accept("promote", target, self._fleet.manager.promote.remote(target.name))

    async def start(self, request: Request) -> tuple[int, dict[str, Any]]:
        target = self._find(request)
        return await self._accept("start", target, self._fleet.manager.start.remote(target.name))

    async def stop(self, request: Request) -> tuple[int, dict[str, Any]]:
        target = self._find(request)
        drain = request.query_params.get("drain") == "true"
        return await self._accept("stop", target, self._fleet.manager.stop.remote(target.name, drain=drain))

    async def _accept(self, verb: str, target: Target, call: Awaitable[Any]) -> tuple[int, dict[str, Any]]:
        await self._fleet.ask(call)
        return 202, {"id": target.name, "object": "model", "accepted": verb}

    def _find(self, request: Request) -> Target:
        return find(self._fleet.catalog, request.path_params["id"], request.scope["exchange"].caller)

    def describe(self, target: Target) -> dict[str, Any]:
        """OpenAI's model object, with raymux's fields beside it."""
        statuses = [self._fleet.statuses.get(variant.key) for variant in target.variants]
        is_ready = any(status and status.state is VariantState.READY for status in statuses)
        state = str(_best_state(statuses))
        if target.upstream is not None:
            is_ready = self._providers.is_ready(target)
            state = "ready" if is_ready else "unavailable"
        return {
            "id": target.name,
            "object": "model",
            "created": CREATED,
            "owned_by": target.upstream.provider.name if target.upstream else "raymux",
            "kind": target.kind,
            "parent": target.base,
            "aliases": list(target.aliases),
            "tasks": [str(task) for task in target.tasks],
            "state": state,
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
