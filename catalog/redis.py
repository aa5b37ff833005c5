"""Where gateways share what each would else keep for itself."""

from __future__ import annotations

from pydantic import Field

from catalog.models import Settings


class RedisSettings(Settings):
    """A Redis server, 6 or newer. Without it, and while it is away, each gateway keeps things in its own memory."""

    url_env: str = Field(
        default="RAYMUX_REDIS_URL",
        pattern=r"^[A-Z][A-Z0-9_]{0,63}$",
        description="Environment variable with the server's URL: `redis://[user:password@]host:port/0`,"
        " or `rediss://` with TLS.",
    )
    timeout_s: float = Field(
        default=0.1,
        ge=0.005,
        le=5,
        description="Longest wait for an answer. After that the gateway does without Redis for some seconds.",
    )
    key_prefix: str = Field(
        default="raymux:", pattern=r"^[A-Za-z0-9:_.-]{0,64}$", description="What every key in Redis begins with."
    )


class StoreRedisSettings(RedisSettings):
    """A Redis server that keeps what must outlive the manager. It must keep its own data (`appendonly yes`)."""

    timeout_s: float = Field(
        default=2,
        ge=0.05,
        le=30,
        description="Longest wait for an answer; after that a change is refused with `store_unavailable`.",
    )
