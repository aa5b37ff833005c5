"""Which variants of a target may serve a request, in which order."""

from __future__ import annotations

from typing import Any

from catalog.catalog import Target, VariantSpec
from catalog.errors import GpuNotSupported, InvalidGpuPreference
from catalog.gpus import GpuShape

MAX_PREFERENCES = 16
MAX_PREFERENCE_CHARS = 512


def preferred_shapes(header: str | None, body: Any) -> tuple[str, ...]:
    """The shapes a request asks for, in order; empty for `auto` or no wish.

    `header` is a comma-separated list, `body` a string or a list of strings. Raises InvalidGpuPreference when one is
    malformed, or both are given and differ.
    """
    from_header = _shapes(header.split(",") if header is not None else None)
    from_body = _shapes([body] if isinstance(body, str) else body)
    if from_header is not None and from_body is not None and from_header != from_body:
        raise InvalidGpuPreference(
            "X-GPU-Preference and gpu_preference differ; send one of them.", param="gpu_preference"
        )
    return from_header if from_header is not None else from_body or ()


def _shapes(wishes: Any) -> tuple[str, ...] | None:
    if wishes is None:
        return None
    if not isinstance(wishes, list) or not all(isinstance(wish, str) for wish in wishes):
        raise InvalidGpuPreference("gpu_preference is a shape or a list of shapes.", param="gpu_preference")
    if not 1 <= len(wishes) <= MAX_PREFERENCES or sum(map(len, wishes)) > MAX_PREFERENCE_CHARS:
        raise InvalidGpuPreference(f"gpu_preference lists 1 to {MAX_PREFERENCES} shapes.", param="gpu_preference")
    stripped = [wish.strip() for wish in wishes]
    if stripped == ["auto"]:
        return ()
    try:
        return tuple(str(GpuShape.parse(wish)) for wish in stripped)
    except ValueError as error:
        raise InvalidGpuPreference(f"gpu_preference: {error}, or `auto`.", param="gpu_preference") from None


def eligible(target: Target, shapes: tuple[str, ...]) -> tuple[VariantSpec, ...]:
    """The target's variants that a request accepts, best first. Raises GpuNotSupported when there is none."""
    if not shapes:
        return target.variants
    if target.upstream is not None:
        raise GpuNotSupported(
            f"{target.name} is served by an outside provider, which has no GPUs to choose from.", param="gpu_preference"
        )
    by_shape = {variant.settings.shape: variant for variant in target.variants}
    wanted = tuple(by_shape[shape] for shape in shapes if shape in by_shape)
    if not wanted:
        raise GpuNotSupported(
            f"{target.name} runs on {', '.join(by_shape)}, not on {', '.join(shapes)}.", param="gpu_preference"
        )
    return wanted
