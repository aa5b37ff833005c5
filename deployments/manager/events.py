"""Does what an event of a webhook asks for, as the endpoint of the same would."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from pydantic import ValidationError

from catalog.catalog import Target
from catalog.errors import InvalidRequest, ModelNotFound, RaymuxError
from catalog.registry import first_problem
from catalog.warmups import WarmupRequest
from router.variants import eligible, preferred_shapes

Verb = Callable[..., Awaitable[object]]


class Verbs(Protocol):
    """The manager's verbs, each of which returns the RaymuxError that kept it from doing so."""

    def find(self, name: str) -> Target: ...

    @property
    def register(self) -> Verb: ...

    @property
    def promote(self) -> Verb: ...

    @property
    def deregister(self) -> Verb: ...

    @property
    def warm_up(self) -> Verb: ...


async def apply_event(manager: Verbs, verb: str, data: dict[str, Any]) -> RaymuxError | None:
    """Returns why it could not be done."""
    try:
        outcome = await _apply(manager, verb, data)
    except RaymuxError as error:
        return error
    return outcome if isinstance(outcome, RaymuxError) else None


async def _apply(manager: Verbs, verb: str, data: dict[str, Any]) -> object:
    match verb:
        case "register":
            return await manager.register(data)
        case "promote":
            return await manager.promote(data["model"])
        case "warmup":
            return await _warm_up(manager, data)
        case _:
            outcome = await manager.deregister(data["model"])
            # It is gone already, perhaps by this very event before the manager died.
            return None if isinstance(outcome, ModelNotFound) else outcome


async def _warm_up(manager: Verbs, data: dict[str, Any]) -> object:
    try:
        wish = WarmupRequest.model_validate({**data, "wait": False})
    except ValidationError as error:
        where, message = first_problem(error)
        raise InvalidRequest(f"data.{where}: {message}", param=f"data.{where}") from None
    target = manager.find(wish.model)
    shapes = preferred_shapes(None, wish.gpu_preference)
    keys = tuple(variant.key for variant in eligible(target, shapes))
    return await manager.warm_up(target.name, keys, wish.keep_warm_s, wait=False, in_order=bool(shapes))
