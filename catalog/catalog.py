"""The catalog: every name that a request may use, and what it leads to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from catalog.models import (
    AdapterPool,
    AdapterSettings,
    CheckpointSettings,
    EngineSettings,
    LifecycleSettings,
    ModelSettings,
    Task,
    VariantSettings,
)
from catalog.names import parse_name
from catalog.providers import ProviderModelSettings, ProviderSettings, Upstream
from catalog.settings import CatalogSettings
from catalog.source_cache import SourceCacheSettings


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """All that a replica of one variant needs to know. Two equal specs are served by the same deployment."""

    model: str
    served_names: tuple[str, ...]
    source: str
    tasks: tuple[Task, ...]
    settings: VariantSettings
    engine: EngineSettings
    adapters: AdapterPool | None
    lifecycle: LifecycleSettings
    replica_host: str
    # A running replica need not be replaced for it.
    source_cache: SourceCacheSettings = field(default=SourceCacheSettings(), repr=False, compare=False)

    @property
    def key(self) -> str:
        """`<model>@<shape>`: names the variant in status, logs and labels."""
        return f"{self.model}@{self.settings.shape}"

    @property
    def app_name(self) -> str:
        """The Serve application of the variant: readable, safe in paths, and as unique as the key."""
        safe = "".join(char if char.isalnum() else "-" for char in self.key)
        return f"model-{safe[:60]}-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}"

    @property
    def fingerprint(self) -> str:
        """Changes whenever a running replica would have to be replaced."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """A LoRA adapter: where its files are, and every name that requests may use for it."""

    name: str
    names: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class QueueRules:
    """Bounds of the requests to a model; seconds."""

    max_ongoing_per_replica: int
    max_queued_requests: int
    max_queue_wait_s: float


@dataclass(frozen=True, slots=True)
class Target:
    """What a name leads to: the variants that can serve it, and the adapter they need for it; or a provider."""

    name: str
    kind: str
    tasks: tuple[Task, ...]
    variants: tuple[VariantSpec, ...]
    lifecycle: LifecycleSettings
    queue: QueueRules
    base: str | None = None
    adapter: AdapterSpec | None = None
    auto_promote: bool = True
    aliases: tuple[str, ...] = field(default=())
    fallbacks: tuple[str, ...] = ()
    upstream: Upstream | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """Change with whatever serves the model; files that change in place are not noticed."""
        source = (self.adapter.source,) if self.adapter else ()
        upstream = (repr(self.upstream),) if self.upstream else ()
        return (*(variant.fingerprint for variant in self.variants), *source, *upstream)


class _Node(NamedTuple):
    """What the settings say of the nodes that replicas run on."""

    replica_host: str
    source_cache: SourceCacheSettings


class Catalog:
    """An immutable index over the settings. Look-ups are exact and case-sensitive."""

    def __init__(self, settings: CatalogSettings) -> None:
        self.settings = settings
        node = _Node(settings.replica_host, settings.source_cache)
        self._targets: dict[str, Target] = {}
        self._by_name: dict[str, Target] = {}
        models = {name: model for model in settings.models for name in (model.name, *model.aliases)}
        for model in settings.models:
            self._add(_base_target(model, node), (model.name, *model.aliases))
        for adapter in settings.adapters:
            base = models[parse_name(adapter.name).base]
            self._add(*_adapter_target(adapter, base, node, kind="adapter"))
        newest = {_job_of(checkpoint, models): checkpoint.name for checkpoint in settings.checkpoints}
        for checkpoint in settings.checkpoints:
            base = models[parse_name(checkpoint.name).base]
            is_newest = newest[_job_of(checkpoint, models)] == checkpoint.name
            self._add(*_checkpoint_target(checkpoint, base, node, is_newest))
        for provider in settings.providers:
            for model in provider.models:
                self._add(_provider_target(provider, model), (provider.full_name(model), *model.aliases))

    def _add(self, target: Target, names: Iterable[str]) -> None:
        self._targets[target.name] = target
        self._by_name.update(dict.fromkeys(names, target))

    def find(self, name: str) -> Target | None:
        """The target with exactly this name or alias, or None."""
        return self._by_name.get(name)

    def targets(self) -> Iterator[Target]:
        """Every target once, in the order of the configuration."""
        yield from self._targets.values()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name and alias."""
        return tuple(self._by_name)

    @cached_property
    def provided(self) -> tuple[Target, ...]:
        """The targets that outside providers serve."""
        return tuple(target for target in self.targets() if target.upstream is not None)

    @cached_property
    def variants(self) -> dict[str, VariantSpec]:
        """Every variant by key; adapters share those of their base model."""
        return {variant.key: variant for target in self.targets() for variant in target.variants}


def _variants(
    name: str, served_names: tuple[str, ...], source: str, base: ModelSettings, pool: AdapterPool | None, node: _Node
):
    return tuple(
        VariantSpec(name, served_names, source, base.tasks, variant, base.engine, pool, base.lifecycle, *node)
        for variant in base.variants
    )


def _queue(model: ModelSettings) -> QueueRules:
    queue = model.queue
    return QueueRules(model.max_ongoing_per_replica, queue.max_queued_requests, queue.max_queue_wait_s)


def _base_target(model: ModelSettings, node: _Node) -> Target:
    names = (model.name, *model.aliases)
    variants = _variants(model.name, names, model.source, model, model.adapters, node)
    return Target(
        model.name,
        "base",
        model.tasks,
        variants,
        model.lifecycle,
        _queue(model),
        aliases=model.aliases,
        fallbacks=model.fallbacks,
    )


def _adapter_target(
    entry: AdapterSettings | CheckpointSettings, base: ModelSettings, node: _Node, kind: str, is_newest: bool = True
) -> tuple[Target, tuple[str, ...]]:
    names = _all_names(entry.name, base, is_newest)
    spec = AdapterSpec(entry.name, names, entry.source)
    auto_promote = entry.auto_promote if isinstance(entry, CheckpointSettings) else True
    variants = _base_target(base, node).variants
    target = Target(
        entry.name, kind, base.tasks, variants, base.lifecycle, _queue(base), base.name, spec, auto_promote, names[1:]
    )
    return target, names


def _checkpoint_target(
    entry: CheckpointSettings, base: ModelSettings, node: _Node, is_newest: bool
) -> tuple[Target, tuple[str, ...]]:
    if entry.kind == "adapter":
        return _adapter_target(entry, base, node, "checkpoint", is_newest)
    names = _all_names(entry.name, base, is_newest)
    # Its engine knows the short name too, newest or not: a newer checkpoint must not change the spec and restart it.
    variants = _variants(entry.name, _all_names(entry.name, base, True), entry.source, base, None, node)
    target = Target(
        entry.name,
        "checkpoint",
        base.tasks,
        variants,
        base.lifecycle,
        _queue(base),
        base.name,
        None,
        entry.auto_promote,
        names[1:],
    )
    return target, names


def _provider_target(provider: ProviderSettings, model: ProviderModelSettings) -> Target:
    return Target(
        provider.full_name(model),
        "provider",
        model.tasks,
        (),
        LifecycleSettings(),
        # Nothing waits here for a provider: it has a queue of its own.
        QueueRules(provider.max_ongoing_requests, 0, 0.0),
        aliases=model.aliases,
        fallbacks=model.fallbacks,
        upstream=Upstream(provider, model),
    )


def _job_of(checkpoint: CheckpointSettings, models: dict[str, ModelSettings]) -> tuple[str, str | None]:
    parsed = parse_name(checkpoint.name)
    return models[parsed.base].name, parsed.job


def _all_names(name: str, base: ModelSettings, is_newest: bool) -> tuple[str, ...]:
    """The name itself first, then the same under the base model's other names.

    `rl:<base>:<job>`, without a checkpoint, is a name of the job's checkpoint that was registered last.
    """
    parsed = parse_name(name)
    bases = dict.fromkeys([parsed.base, base.name, *base.aliases])
    if parsed.kind == "peft":
        return tuple(f"peft:{each}:{parsed.job}" for each in bases)
    full = [f"rl:{each}:{parsed.job}:{parsed.checkpoint}" for each in bases]
    return (*full, *(f"rl:{each}:{parsed.job}" for each in bases if is_newest))
