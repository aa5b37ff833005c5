"""Configurations of other products, as raymux's."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """Whose configuration it is."""

    RAY_SERVE_LLM = "ray-serve-llm"
    LITELLM = "litellm"
    LLAMA_SWAP = "llama-swap"
