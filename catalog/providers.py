"""Outside providers: services with an API of OpenAI's or Anthropic's form that answer for some names of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from catalog.models import Settings, Task
from catalog.names import BaseName, parse_name

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ProviderKind(StrEnum):
    """Whose API a provider speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


# What these providers' own documentation says; each may be overridden.
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "openai": {
        "base_url": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
        "max_tokens_field": "max_completion_tokens",
    },
    "together": {"base_url": "https://api.together.xyz/v1", "api_key_env": "TOGETHER_API_KEY"},
    "anthropic": {
        "kind": "anthropic",
        "base_url": "https://api.anthropic.com/v1",
        "api_key_env": "ANTHROPIC_API_KEY",
    },
}


def _base_url(url: str) -> str:
    if not url:
        return url
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("expected a URL such as https://api.example.com/v1") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected a URL such as https://api.example.com/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("the URL may hold neither a user, a password, a query nor a fragment")
    if not url.isascii() or any(char.isspace() for char in url):
        raise ValueError("the URL may hold ASCII characters only, and no spaces")
    return url.rstrip("/")


class ProviderModelSettings(Settings):
    """A model of a provider. Only models that are listed are served."""

    name: BaseName = Field(description="With the provider's name before it, `openai/gpt-4o-mini`, what requests use.")
    aliases: tuple[BaseName, ...] = Field(
        default=(), max_length=32, description="Further names; unlike the first, they stand alone: `gpt-4o-mini`."
    )
    upstream: str = Field(
        default="",
        max_length=256,
        pattern=r"^[!-~]*$",
        description="What the provider calls the model; empty where that is its `name`.",
    )
    tasks: tuple[Task, ...] = Field(
        default=(Task.GENERATE,), min_length=1, max_length=2, description="`generate` or `embed`."
    )
    max_output_tokens: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Completion tokens of a request that names no most; Anthropic's API needs a number.",
    )
    fallbacks: tuple[str, ...] = Field(
        default=(), max_length=8, description="Models that answer in its place when the provider fails."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ProviderModelSettings:
        if "/" in self.name:
            raise ValueError("name: no '/', since the provider's name stands before it; use `upstream` for theirs")
        if Task.SCORE in self.tasks:
            raise ValueError("tasks: a provider's model generates or embeds")
        return self


class ProviderSettings(Settings):
    """An outside provider. Those named `openai`, `together` and `anthropic` know their kind, URL and variable."""

    name: Annotated[BaseName, AfterValidator(lambda name: _without_slash(name))] = Field(
        description="What stands before the `/` in the names of its models."
    )
    kind: ProviderKind = Field(default=ProviderKind.OPENAI, description="Whose API it speaks.")
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        default="",
        max_length=1024,
        description="Its API: what stands before `/chat/completions` or `/messages`. https, or http to loopback.",
    )
    allow_plain_http: bool = Field(
        default=False, description="Whether an http URL may lead elsewhere than to loopback; the key goes in the clear."
    )
    api_key_env: str = Field(
        default="",
        pattern=r"^([A-Z][A-Z0-9_]{0,63})?$",
        description="Environment variable of the gateways that holds the key. The key itself is written nowhere.",
    )
    max_tokens_field: str = Field(
        default="max_tokens",
        pattern=r"^(max_tokens|max_completion_tokens)$",
        description="What an `openai` kind calls the most tokens of an answer, in translated requests.",
    )
    asks_for_usage: bool = Field(
        default=True,
        description="Whether streams of an `openai` kind ask for their usage; off for one that refuses"
        " `stream_options`, and the tokens of its streams are then estimated.",
    )
    connect_timeout_s: float = Field(default=5, ge=0.1, le=60, description="Time to connect.")
    first_byte_timeout_s: float = Field(
        default=120, ge=0.1, le=7_200, description="Time from sending a request to the first byte of its answer."
    )
    idle_timeout_s: float = Field(
        default=60, ge=0.1, le=7_200, description="Longest silence in the middle of an answer."
    )
    max_retries: int = Field(
        default=2, ge=0, le=10, description="How often a request is tried again before the first byte of its answer."
    )
    max_ongoing_requests: int = Field(
        default=256, ge=1, le=100_000, description="Requests one gateway has there at once; further ones get 429."
    )
    models: tuple[ProviderModelSettings, ...] = Field(min_length=1, max_length=1_000, description="What it serves.")

    @model_validator(mode="before")
    @classmethod
    def _well_known(cls, fields: Any) -> Any:
        name = fields.get("name") if isinstance(fields, dict) else None
        return {**_WELL_KNOWN.get(name, {}), **fields} if isinstance(name, str) else fields

    @model_validator(mode="after")
    def _complete(self) -> ProviderSettings:
        if not self.base_url:
            raise ValueError(f"base_url: needed; only {', '.join(_WELL_KNOWN)} have one of their own")
        if not self.api_key_env:
            raise ValueError(f"api_key_env: needed; only {', '.join(_WELL_KNOWN)} have one of their own")
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not self.allow_plain_http:
            raise ValueError("base_url: http leads to loopback only, unless `allow_plain_http: true`")
        if self.kind is ProviderKind.ANTHROPIC and any(Task.GENERATE not in model.tasks for model in self.models):
            raise ValueError("models: Anthropic's API generates only")
        for model in self.models:
            parse_name(self.full_name(model))
        return self

    def full_name(self, model: ProviderModelSettings) -> str:
        """`<provider>/<model>`."""
        return f"{self.name}/{model.name}"


def _without_slash(name: str) -> str:
    if "/" in name:
        raise ValueError("no '/' in a provider's name")
    return name


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests for a provider's model go."""

    provider: ProviderSettings
    model: ProviderModelSettings

    @property
    def model_name(self) -> str:
        """What the provider calls the model."""
        return self.model.upstream or self.model.name
