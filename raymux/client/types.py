"""What raymux's own endpoints answer with. Further fields of a reply are there as attributes, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai import BaseModel, OpenAIError
from openai.types import CreateEmbeddingResponse
from pydantic import Field


class WarmupFailed(OpenAIError):
    """The model that was to be warm could not start; the message is why."""


class Ranked(BaseModel):
    """One document of a rerank: its place in the list that was given, and how well it fits the query."""

    index: int
    relevance_score: float
    document: Any = None


class Warmup(BaseModel):
    """A model that is kept warm; `state` is `starting`, `ready`, `ended` or `failed`. Times in seconds."""

    id: str
    model: str
    gpu: str
    state: str
    step: str | None = None
    expected_s: float | None = None
    took_s: float | None = None
    keep_warm_s: float = 0
    keep_warm_until: int | None = None
    error: str | None = None


class VariantStatus(BaseModel):
    """A model on one shape of GPU; `state` is one of `cold`, `scheduling`, `starting`, `ready`, `draining`,
    `stopped` and `failed`."""

    model: str
    variant: str
    state: str
    step: str | None = None
    replicas: list[dict[str, Any]] = Field(default_factory=list)
    num_queued: int = 0
    num_running: int = 0
    num_waiting: int = 0
    expected_start_s: float | None = None
    last_error: str | None = None


class Status(BaseModel):
    """Every variant that the caller may see."""

    variants: list[VariantStatus]

    def of(self, model: str) -> list[VariantStatus]:
        """The variants of one model, by its catalog name."""
        return [variant for variant in self.variants if variant.model == model]


def vectors(reply: CreateEmbeddingResponse) -> list[list[float]]:
    """Those of an embeddings reply, in the order of the texts."""
    return [each.embedding for each in sorted(reply.data, key=lambda each: each.index)]


def ranked(reply: Mapping[str, Any]) -> list[Ranked]:
    """The documents of a rerank reply, best first."""
    return [Ranked.construct(**each) for each in reply["results"]]


def warmed(warmup: Mapping[str, Any], model: str) -> Warmup:
    """The warm-up of a model as it stands. Raises WarmupFailed when it failed."""
    if warmup["state"] == "failed":
        raise WarmupFailed(warmup.get("error") or f"{model} could not start")
    return Warmup.construct(**warmup)
