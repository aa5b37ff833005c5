"""What a user of the service installs: the client library and the command line.

`import raymux` loads nothing else: each name below is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raymux.client.async_inference import AsyncInferenceClient
    from raymux.client.cold_start import ColdStart
    from raymux.client.inference import BentoMLClient, InferenceClient, get_bentoml_client
    from raymux.client.types import Ranked, Status, VariantStatus, Warmup, WarmupFailed

__version__ = "0.1.0"
__all__ = [
    "AsyncInferenceClient",
    "BentoMLClient",
    "ColdStart",
    "InferenceClient",
    "Ranked",
    "Status",
    "VariantStatus",
    "Warmup",
    "WarmupFailed",
    "get_bentoml_client",
]

_MODULES = {
    "AsyncInferenceClient": "raymux.client.async_inference",
    "ColdStart": "raymux.client.cold_start",
    "InferenceClient": "raymux.client.inference",
    "BentoMLClient": "raymux.client.inference",
    "get_bentoml_client": "raymux.client.inference",
    **dict.fromkeys(("Ranked", "Status", "VariantStatus", "Warmup", "WarmupFailed"), "raymux.client.types"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
