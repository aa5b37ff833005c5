"""The body of a request to one of raymux's own endpoints."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from catalog.errors import InvalidRequest
from catalog.registry import first_problem
from deployments.gateway.inference import read_json_body
from router.body import parse_object

MAX_BODY_BYTES = 256 * 1024

_ModelT = TypeVar("_ModelT", bound=BaseModel)


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises what `read_json_body` and `parse_object` raise."""
    return parse_object(await read_json_body(dict(request.scope["headers"]), request.receive, MAX_BODY_BYTES))


async def read_fields(request: Request, cls: type[_ModelT]) -> _ModelT:
    """The body as a checked object of a class. Raises InvalidRequest that names the field."""
    fields = await read_object(request)
    try:
        return cls.model_validate(fields, strict=True)
    except ValidationError as error:
        where, message = first_problem(error)
        raise InvalidRequest(f"{where}: {message}", param=where.partition(".")[0]) from None
