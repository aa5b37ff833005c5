"""GPUs over HTTP: `GET /v1/gpus`, what the cluster has and may grow to, and `POST /v1/gpus/validate`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from autoscaling.choice import Choice
from autoscaling.cluster import Cluster, Footing
from autoscaling.placement import place
from catalog.catalog import Target
from catalog.errors import RaymuxError, RequestError
from catalog.gpus import GPU_TYPES, GpuShape
from catalog.keys import Access
from catalog.models import VariantSettings
from deployments.gateway.fleet import Fleet
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.json_body import read_fields
from deployments.gateway.json_handler import JsonHandler
from router.resolve import find
from router.variants import eligible, preferred_shapes


class ValidationRequest(BaseModel):
    """The body of `POST /v1/gpus/validate`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu_preference: Any = Field(default=None, description="As in a request; may come as a header instead.")
    model: str | None = Field(default=None, max_length=512, description="Whether this model may run on it, too.")


class Gpus:
    """Handlers of the GPU endpoints."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self, prefix: str) -> list[GuardedRoute]:
        """The routes under a prefix such as `/v1`."""
        return [
            GuardedRoute(f"{prefix}/gpus", JsonHandler(self.list), methods=["GET"], access=Access.KEY),
            GuardedRoute(f"{prefix}/gpus/validate", JsonHandler(self.validate), methods=["POST"], access=Access.KEY),
        ]

    async def list(self, request: Request) -> tuple[int, dict[str, Any]]:
        caller, cluster = request.scope["exchange"].caller, await self.cluster()
        models: dict[str, dict[str, list[str]]] = {}
        for target in self._fleet.catalog.targets():
            if target.adapter is not None or not caller.may_use(target.name):
                continue
            for variant in target.variants:
                shape = variant.settings.shape
                models.setdefault(GpuShape.parse(shape).type, {}).setdefault(shape, []).append(target.name)
        return 200, {
            "object": "list",
            "data": [
                {
                    **counts,
                    "shapes": [{"shape": shape, "models": names} for shape, names in models.get(type, {}).items()],
                }
                for type, counts in count_gpus(cluster).items()
            ],
        }

    async def validate(self, request: Request) -> tuple[int, dict[str, Any]]:
        wish = await read_fields(request, ValidationRequest)
        target = (
            find(self._fleet.catalog, wish.model, request.scope["exchange"].caller) if wish.model is not None else None
        )
        try:
            shapes = preferred_shapes(request.headers.get("x-gpu-preference"), wish.gpu_preference)
            settings = [each.settings for each in eligible(target, shapes)] if target else _plain(shapes)
            choice = await self._choice(target, shapes) if target and target.variants else None
        except RequestError as error:
            return 200, {"object": "gpu_validation", "valid": False, **error.body()}
        except RaymuxError as error:
            # The wish is sound; it is the cluster, or the model's state, that does not allow it now.
            return 200, {"object": "gpu_validation", "valid": True, "choice": None, **error.body()}
        cluster = await self.cluster()
        return 200, {
            "object": "gpu_validation",
            "valid": True,
            "model": target.name if target else None,
            "gpus": [{"gpu": each.shape, "placement": str(_footing(each, cluster))} for each in settings],
            "choice": {"gpu": choice.key.rpartition("@")[2], "reason": str(choice.reason)} if choice else None,
        }

    async def _choice(self, target: Target, shapes: tuple[str, ...]) -> Choice:
        keys = tuple(variant.key for variant in eligible(target, shapes))
        return await self._fleet.ask(self._fleet.manager.choose.remote(keys, in_order=bool(shapes)))

    async def cluster(self) -> Cluster:
        """What the cluster has now. Raises ModelLoading while the manager does not say."""
        return await self._fleet.ask(self._fleet.manager.cluster.remote())


def _footing(settings: VariantSettings, cluster: Cluster) -> Footing:
    placement = place(settings)
    return cluster.footing(placement.bundles, placement.strategy)


def _plain(shapes: tuple[str, ...]) -> list[VariantSettings]:
    return [VariantSettings(shape=shape) for shape in shapes]


def count_gpus(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """By type of GPU, and of CPUs: how many the cluster has, has free and may add."""
    return {type: _count(type, cluster) for type in (*GPU_TYPES, "CPU")}


def _count(type: str, cluster: Cluster) -> dict[str, Any]:
    if type == "CPU":
        total, free, addable = cluster.count("CPU")
    else:
        total, free, addable = cluster.restricted_to(f"accelerator_type:{type}").count("GPU")
    return {
        "type": type,
        "object": "gpu",
        "total": round(total, 3),
        "free": round(free, 3),
        "addable": round(addable, 3),
    }
