"""Warm-ups over HTTP: `POST /v1/warmup`, and `GET` or `DELETE /v1/warmup/{id}`."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request

from catalog.errors import ModelFailed, WarmupNotFound
from catalog.keys import Access
from catalog.warmups import Warmup, WarmupRequest, WarmupState
from deployments.gateway.fleet import Fleet
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.json_body import read_fields
from deployments.gateway.json_handler import JsonHandler
from router.resolve import find
from router.variants import eligible, preferred_shapes


class Warmups:
    """Handlers of the warm-up endpoints."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self, prefix: str) -> list[GuardedRoute]:
        """The routes under a prefix such as `/v1`."""
        return [
            GuardedRoute(f"{prefix}/warmup", JsonHandler(self.list), methods=["GET"], access=Access.KEY),
            GuardedRoute(f"{prefix}/warmup", JsonHandler(self.begin), methods=["POST"]),
            GuardedRoute(f"{prefix}/warmup/{{id}}", JsonHandler(self.get), methods=["GET"], access=Access.KEY),
            GuardedRoute(f"{prefix}/warmup/{{id}}", JsonHandler(self.end), methods=["DELETE"]),
        ]

    async def begin(self, request: Request) -> tuple[int, dict[str, Any]]:
        wish = await read_fields(request, WarmupRequest)
        target = find(self._fleet.catalog, wish.model, request.scope["exchange"].caller)
        header = request.headers.get("x-gpu-preference")
        shapes = preferred_shapes(header, wish.gpu_preference)
        keys = tuple(variant.key for variant in eligible(target, shapes))
        call = self._fleet.manager.warm_up.remote(
            target.name, keys, wish.keep_warm_s, wait=wish.wait, in_order=bool(shapes)
        )
        warmup: Warmup = await self._fleet.ask(call)
        if warmup.state is WarmupState.FAILED:
            raise ModelFailed(warmup.error)
        # What the reply says, this gateway knows too: the next request finds the replica.
        await self._fleet.until(lambda: self._knows(warmup))
        return (202 if warmup.state is WarmupState.STARTING else 200), self._describe(warmup)

    async def list(self, request: Request) -> tuple[int, dict[str, Any]]:
        caller = request.scope["exchange"].caller
        known = [each for each in self._fleet.warmups.values() if caller.may_use(each.model)]
        return 200, {"object": "list", "data": [self._describe(each) for each in known]}

    async def get(self, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, self._describe(self._find(request))

    async def end(self, request: Request) -> tuple[int, dict[str, Any]]:
        warmup: Warmup = await self._fleet.ask(self._fleet.manager.end_warmup.remote(self._find(request).id))
        return 200, self._describe(warmup)

    def _knows(self, warmup: Warmup) -> bool:
        known = self._fleet.warmups.get(warmup.id)
        return known is not None and (warmup.ready_s is None or known.ready_s is not None)

    def _find(self, request: Request) -> Warmup:
        warmup = self._fleet.warmups.get(request.path_params["id"])
        if warmup is None or not request.scope["exchange"].caller.may_use(warmup.model):
            raise WarmupNotFound("No warm-up has this id; one that is over is forgotten after an hour.", param="id")
        return warmup

    def _describe(self, warmup: Warmup) -> dict[str, Any]:
        """A warm-up with the step its start is at."""
        status = self._fleet.statuses.get(warmup.wanted[0]) if warmup.state is WarmupState.STARTING else None
        waited_s = time.time() - warmup.created_s
        return {
            "id": warmup.id,
            "object": "warmup",
            "created": int(warmup.created_s),
            "model": warmup.model,
            "gpu": warmup.wanted[0].rpartition("@")[2],
            "state": str(warmup.state),
            "step": status and status.step and str(status.step),
            "expected_s": round(max(0.0, status.expected_start_s - waited_s), 1) if status else None,
            "took_s": round(warmup.ready_s - warmup.created_s, 2) if warmup.ready_s is not None else None,
            "keep_warm_s": warmup.keep_warm_s,
            "keep_warm_until": int(warmup.keep_until_s) if warmup.keep_until_s is not None else None,
            "scheduled": warmup.is_scheduled,
            "error": warmup.error or None,
        }
