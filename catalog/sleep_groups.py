"""Sleep groups: variants of several models that share one set of GPUs."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.models import ModelSettings


def require_equal_shapes(models: Iterable[ModelSettings]) -> None:
    """Raise ValueError, naming the path of the later one, when two variants of a group differ in their shapes."""
    first: dict[str, tuple[str, str]] = {}
    for index, model in enumerate(models):
        for number, variant in enumerate(model.variants):
            if variant.sleep_group is None:
                continue
            where = f"models.{index}.variants.{number}"
            earlier, shape = first.setdefault(variant.sleep_group, (where, variant.shape))
            if shape != variant.shape:
                raise ValueError(
                    f"{where}.sleep_group: {variant.sleep_group} shares one set of GPUs, so its variants have one"
                    f" shape; here it is {variant.shape}, and {shape} at {earlier}"
                )
