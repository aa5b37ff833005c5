"""What an engine is to a replica."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp

from catalog.replicas import StartStep


@dataclass(slots=True)
class TokenCount:
    """Tokens of one request; the engine counts them where it makes them, so no reply is parsed for them.

    `cached_tokens` of the prompt were not computed; None where the engine does not say.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None


# The count of the request that the current task serves; the door sets it before it calls the engine's app.
current_tokens: ContextVar[TokenCount | None] = ContextVar("current_tokens", default=None)


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Requests in the engine, and the share of its KV cache in use, 0 to 1, of so many tokens (0 for not known)."""

    running: int = 0
    waiting: int = 0
    kv_usage_ratio: float = 0.0
    kv_capacity_tokens: int = 0

    @property
    def is_busy(self) -> bool:
        return self.running + self.waiting > 0


class Engine(Protocol):
    """An engine with an OpenAI server of its own."""

    @property
    def app(self) -> ASGIApp:
        """Its HTTP app, once it has started."""
        ...

    async def start(self, on_step: Callable[[StartStep], None]) -> None:
        """Bring the engine up, naming each step as it begins. Raises when it cannot start."""
        ...

    async def load_adapter(self, names: tuple[str, ...], path: str) -> None:
        """Load a LoRA adapter and serve it under these names. Raises ValueError when the engine refuses it."""
        ...

    async def unload_adapter(self, names: tuple[str, ...]) -> None:
        """Forget an adapter."""
        ...

    async def sleep(self) -> None:
        """Free the GPU: weights go to host memory, the KV cache is dropped. Nothing may run meanwhile."""
        ...

    async def wake(self) -> None:
        """Undo `sleep`; requests can run again."""
        ...

    def load(self) -> EngineLoad:
        """The load right now."""
        ...

    def is_alive(self) -> bool:
        """Whether the engine can still answer."""
        ...

    async def stop(self) -> None:
        """End the engine and its processes."""
        ...
