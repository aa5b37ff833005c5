"""API keys as an operator writes them down, and the caller that a key stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from catalog.limits import LimitSettings
from catalog.models import Settings

ID_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$"
DEFAULT_TENANT = "default"


class Access(StrEnum):
    """Who may call a route: anybody, any valid key, an admin key, or a sender who signs what it sends."""

    PUBLIC = "public"
    KEY = "key"
    ADMIN = "admin"
    SIGNED = "signed"


def _pattern(text: str) -> str:
    if not text or "*" in text[:-1]:
        raise ValueError("expected a model name, a beginning of names that ends in '*', or '*' for every model")
    return text


ModelPattern = Annotated[str, AfterValidator(_pattern)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. `key_id` and `tenant` are the operator's words, so they are safe in logs and labels.

    `models` are names, or beginnings of names that end in `*`. `limits` are None where the gateway's own apply.
    When a model is full, those of a higher `priority` are served first, and the others share by `weight`.
    """

    key_id: str | None = None
    tenant: str = DEFAULT_TENANT
    models: tuple[str, ...] = ("*",)
    is_admin: bool = False
    limits: LimitSettings | None = None
    priority: int = 0
    weight: float = 1.0

    def may_use(self, name: str) -> bool:
        """Whether the caller may use a model of this (canonical) name."""
        return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in self.models)


# Where no keys are configured: whoever reaches the loopback port owns the machine.
ANYBODY = Caller(is_admin=True)


class ApiKeySettings(Settings):
    """One API key. The key itself is written nowhere: `raymux keys create` prints it once, with its hash."""

    id: str = Field(pattern=ID_PATTERN, description="What logs and limits call the key.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in lower-case hexadecimal digits.")
    tenant: str = Field(
        default=DEFAULT_TENANT,
        pattern=ID_PATTERN,
        description="Whose key it is. Tenants share neither cached answers nor places in a queue.",
    )
    models: tuple[ModelPattern, ...] = Field(
        default=("*",),
        min_length=1,
        max_length=1000,
        description="Models the key may use: names, or beginnings that end in `*` such as `peft:demo-chat:*`.",
    )
    admin: bool = Field(
        default=False, description="Whether the key may also register, start, stop, promote and warm up models."
    )
    limits: LimitSettings | None = Field(default=None, description="Limits of this key in place of the gateway's.")
    priority: int = Field(
        default=0, ge=-100, le=100, description="When a model is full, requests of a higher priority are served first."
    )
    weight: float = Field(
        default=1.0, ge=0.01, le=100, description="The tenant's share beside others of the same priority."
    )

    def caller(self) -> Caller:
        """Who a request with this key comes from."""
        return Caller(self.id, self.tenant, self.models, self.admin, self.limits, self.priority, self.weight)
