"""From the name in a request to its target in the catalog."""

from __future__ import annotations

from catalog.catalog import Catalog, Target
from catalog.errors import InvalidRequest, ModelNotFound, ModelNotPromoted, PermissionDenied
from catalog.keys import ANYBODY, Caller
from catalog.names import closest_names
from router.endpoints import Endpoint


def resolve(
    catalog: Catalog,
    name: str | None,
    default: str | None,
    endpoint: Endpoint,
    promoted: frozenset[str],
    caller: Caller = ANYBODY,
) -> Target:
    """The target of a request; matching is exact and case-sensitive.

    Raises what `find` raises, InvalidRequest when no model is named and the endpoint has no default
    or when the model cannot do the endpoint's task, and ModelNotPromoted.
    """
    wanted = name if name is not None else default
    if wanted is None:
        raise InvalidRequest("This endpoint has no default model: set `model`. See GET /v1/models.", param="model")
    target = find(catalog, wanted, caller)
    if endpoint.task is not None and endpoint.task not in target.tasks:
        able = [
            other.name
            for other in catalog.targets()
            if endpoint.task in other.tasks and other.adapter is None and caller.may_use(other.name)
        ]
        hint = f" Models that do: {', '.join(able[:5])}." if able else ""
        raise InvalidRequest(f"{target.name} does not serve {endpoint.path}.{hint}", param="model")
    if not target.auto_promote and target.name not in promoted:
        raise ModelNotPromoted(f"RL checkpoint needs promotion: POST /v1/models/{target.name}/promote", param="model")
    return target


def find(catalog: Catalog, name: str, caller: Caller = ANYBODY) -> Target:
    """The target with exactly this name.

    Raises ModelNotFound, with up to three names that are close to it, or PermissionDenied. A caller learns nothing of
    models that it may not use, not even which names there are.
    """
    target = catalog.find(name)
    if not caller.may_use(target.name if target else name):
        raise PermissionDenied("This API key may not use a model of this name. See GET /v1/models.", param="model")
    if target is not None:
        return target
    closest = [other for other in closest_names(name, catalog.names) if _may_use(caller, catalog, other)]
    hint = f" Did you mean {' or '.join(closest)}?" if closest else ""
    raise ModelNotFound(f"No model has exactly this name.{hint} See GET /v1/models.", param="model")


def _may_use(caller: Caller, catalog: Catalog, name: str) -> bool:
    target = catalog.find(name)
    return target is not None and caller.may_use(target.name)
