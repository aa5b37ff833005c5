"""The fit check over a whole catalog: which variants cannot hold their model, and which could not be checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catalog.catalog import Catalog, Target
from catalog.fit import Checkpoint, problem
from catalog.loading import ConfigError
from catalog.settings import CatalogSettings
from catalog.sources import SourceNotFound, is_local, locate
from catalog.weights import WeightsIncomplete


def require_fit(settings: CatalogSettings, at: str) -> list[str]:
    """Raise ConfigError for the first variant that cannot hold its model, with its YAML path below `at`.

    Returns the names of the models that could not be checked because their files are not on this machine.
    """
    catalog, unchecked = Catalog(settings), list[str]()
    for where, name in _weights_of(settings):
        target = catalog.find(name)
        assert target is not None, "the catalog has every name of its settings"
        try:
            for index, reason in misfits(target):
                raise ConfigError(f"{at}.{where}{_variant_place(target, index)}: {reason}")
        except (SourceNotFound, WeightsIncomplete):
            unchecked.append(name)
    return unchecked


def misfits(target: Target) -> Iterator[tuple[int, str]]:
    """Index and reason of each variant that cannot hold the target's weights.

    Raises SourceNotFound or WeightsIncomplete where they are not on this machine, unless no engine loads them.
    """
    if all(variant.engine.kind == "emulated" for variant in target.variants):
        return
    location = locate(target.variants[0].source)
    if not is_local(location):
        raise SourceNotFound(f"no folder at source {location!r}: it is elsewhere")
    checkpoint = Checkpoint.read(Path(location))
    for index, variant in enumerate(target.variants):
        reason = problem(checkpoint, variant)
        if reason is not None:
            yield index, reason


def _weights_of(settings: CatalogSettings) -> Iterator[tuple[str, str]]:
    """Place and name of what has weights of its own: models, and checkpoints that are no adapters."""
    yield from ((f"models.{index}", model.name) for index, model in enumerate(settings.models))
    for index, checkpoint in enumerate(settings.checkpoints):
        if checkpoint.kind == "full":
            yield f"checkpoints.{index}", checkpoint.name


def _variant_place(target: Target, index: int) -> str:
    """A checkpoint has the variants of its base, which stand elsewhere."""
    return f".variants.{index}" if target.kind == "base" else f" on {target.variants[index].settings.shape}"
