"""Receivers of raymux's own webhooks: who is told what becomes of models and of fine-tuning jobs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from catalog.addresses import Reach, is_address, reach
from catalog.models import Settings

# Who has this one may sign events that raymux obeys, which a receiver must not.
INCOMING_SECRETS_ENV = "RAYMUX_WEBHOOK_SECRETS"


class NoticeType(StrEnum):
    """What receivers are told of."""

    READY = "model.ready"
    FAILED = "model.failed"
    SCALED_TO_ZERO = "model.scaled_to_zero"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"


def _url(url: str) -> str:
    expected = "expected a URL such as https://example.com/hooks"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(expected)
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("the URL may hold neither a user, a password nor a fragment")
    if not url.isascii() or not url.isprintable() or " " in url or "%" in parts.netloc or "\\" in url:
        raise ValueError("the URL may hold printable ASCII characters only, no spaces, and no escapes in its host")
    last = host.rstrip(".").rpartition(".")[2]
    if not is_address(host) and (last.isdigit() or last.startswith("0x")):
        raise ValueError("an address in the URL is written in full, such as 203.0.113.7")
    return url


class ReceiverSettings(Settings):
    """One receiver of webhooks."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        max_length=1024, description="Where events are sent by POST; https, and to the internet."
    )
    secret_env: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]{0,63}$",
        description="Environment variable of the model manager that holds the secret events are signed with, or several"
        " separated by commas while one replaces another. The secret itself is written nowhere.",
    )
    events: tuple[NoticeType, ...] = Field(
        default=tuple(NoticeType), min_length=1, max_length=16, description="The types that it is sent."
    )
    allow_private: bool = Field(
        default=False,
        description="Whether the receiver may be on loopback or in a private network, and be spoken to by http.",
    )
    timeout_s: float = Field(
        default=10, ge=0.5, le=60, description="Longest time for one try, from the look-up of the name to the answer."
    )

    @model_validator(mode="after")
    def _is_allowed(self) -> ReceiverSettings:
        parts = self._parts
        if self.secret_env == INCOMING_SECRETS_ENV:
            raise ValueError(f"secret_env: {INCOMING_SECRETS_ENV} is what others sign with; take another one")
        if parts.scheme == "http" and not self.allow_private:
            raise ValueError("url: https is needed, unless `allow_private: true`")
        is_here = self.host == "localhost" or self.host.endswith(".localhost")
        found = Reach.INTERNAL if is_here else reach(self.host) if is_address(self.host) else Reach.PUBLIC
        if not self._allows(found):
            unless = ", unless `allow_private: true`" if found is Reach.INTERNAL else ""
            raise ValueError(f"url: nothing is sent to {self.host}{unless}")
        return self

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The name or address in the URL. It stands for the receiver in logs; a path may hold what is secret."""
        return (self._parts.hostname or "").rstrip(".")

    def may_be_at(self, address: str) -> bool:
        """Whether events may be sent to this address; a name is judged by each address that it is resolved to."""
        return self._allows(reach(address))

    def _allows(self, found: Reach) -> bool:
        return found is Reach.PUBLIC or (found is Reach.INTERNAL and self.allow_private)
