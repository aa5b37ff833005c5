"""The body of `POST /v1/fine_tuning/jobs`, by OpenAI's API reference, and what it asks for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from catalog.errors import InvalidRequest
from catalog.fine_tuning import Hyperparameters, Method
from catalog.names import parse_name
from catalog.registry import first_problem

AUTO = "auto"
MAX_SEED = 2**31 - 1
_DPO_ONLY = frozenset({"beta"})


def _suffix(text: str) -> str:
    try:
        parse_name(f"peft:base:{text}")
    except ValueError:
        raise ValueError(
            "expected letters, digits, '.', '_' and '-', with a letter or digit at both ends: it becomes part of the"
            " model's name"
        ) from None
    return text


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodOptions(_Body):
    """What a method is given."""

    hyperparameters: dict[str, Any] | None = Field(default=None, description="Numbers, or `auto`.")


class MethodBody(_Body):
    """How the job learns."""

    type: Literal["supervised", "dpo"] = Field(description="From answers, or from preferences.")
    supervised: MethodOptions | None = Field(default=None, description="For `supervised`.")
    dpo: MethodOptions | None = Field(default=None, description="For `dpo`.")


class JobBody(_Body):
    """A fine-tuning job as clients ask for it."""

    model: str = Field(min_length=1, max_length=256, description="A base model that serves adapters.")
    training_file: str = Field(min_length=1, max_length=128, description="Id of a file of examples.")
    validation_file: str | None = Field(
        default=None, min_length=1, max_length=128, description="Id of a file of further examples."
    )
    method: MethodBody | None = Field(default=None, description="Without it `supervised`.")
    hyperparameters: dict[str, Any] | None = Field(default=None, description="The older place of a method's.")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="Without it a random one.")
    suffix: Annotated[str, AfterValidator(_suffix)] | None = Field(
        default=None, min_length=1, max_length=64, description="The last part of the new model's name."
    )
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        default=None, max_length=16, description="Kept with the job."
    )
    integrations: list[Any] | None = Field(default=None, max_length=0, description="There are none here.")
    gpu_preference: Any = Field(default=None, description="A GPU shape, a list of shapes in order, or `auto`.")


def method_of(body: JobBody) -> tuple[Method, dict[str, Any]]:
    """The method, and those of its hyperparameters that are not left to the server. Raises InvalidRequest."""
    method = Method(body.method.type) if body.method else Method.SUPERVISED
    options = getattr(body.method, method) if body.method else None
    other = Method.DPO if method is Method.SUPERVISED else Method.SUPERVISED
    if body.method is not None and getattr(body.method, other) is not None:
        raise InvalidRequest(f"method.{other} does not go with the type {method}.", param="method")
    own = options.hyperparameters if options is not None else None
    if own is not None and body.hyperparameters is not None:
        raise InvalidRequest("hyperparameters stand in `method` or beside it, not in both.", param="hyperparameters")
    given = own if own is not None else body.hyperparameters or {}
    return method, {name: value for name, value in given.items() if value is not None and value != AUTO}


def hyperparameters_of(method: Method, given: Mapping[str, Any], max_rank: int | None) -> Hyperparameters:
    """All hyperparameters of a job; a rank that is not given is at most what the model serves.

    Raises InvalidRequest that names the one that is unknown or out of its range.
    """
    if method is not Method.DPO and (misplaced := _DPO_ONLY & given.keys()):
        name = next(iter(misplaced))
        raise InvalidRequest(f"{name} is a hyperparameter of dpo alone.", param=f"hyperparameters.{name}")
    rank = {} if max_rank is None else {"lora_rank": min(Hyperparameters().lora_rank, max_rank)}
    try:
        return Hyperparameters.model_validate({**rank, **given}, strict=True)
    except ValidationError as error:
        where, message = first_problem(error)
        if where not in Hyperparameters.model_fields:
            # Its name is the caller's own.
            known = ", ".join(Hyperparameters.model_fields)
            raise InvalidRequest(f"hyperparameters are {known}.", param="hyperparameters") from None
        raise InvalidRequest(f"hyperparameters.{where}: {message}", param=f"hyperparameters.{where}") from None


def seed_of(body: JobBody) -> int:
    """The seed of a job."""
    return body.seed if body.seed is not None else secrets.randbelow(MAX_SEED + 1)
