"""What `user_config` holds: the catalog for the model manager, and the gateway's own settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from catalog.cache import CacheSettings
from catalog.fine_tuning import FineTuningSettings
from catalog.keys import ApiKeySettings
from catalog.limits import LimitSettings
from catalog.models import AdapterSettings, CheckpointSettings, ModelSettings, Settings, SourcePlace
from catalog.names import ParsedName, parse_name
from catalog.providers import ProviderModelSettings, ProviderSettings
from catalog.redis import RedisSettings, StoreRedisSettings
from catalog.schedules import WarmupSchedule
from catalog.sleep_groups import require_equal_shapes
from catalog.source_cache import SourceCacheSettings
from catalog.webhooks import ReceiverSettings

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class CatalogSettings(Settings):
    """Every model, adapter, checkpoint and provider: the `user_config` of the ModelManager deployment."""

    models: tuple[ModelSettings, ...] = Field(min_length=1, max_length=10_000, description="Base models.")
    adapters: tuple[AdapterSettings, ...] = Field(default=(), max_length=100_000, description="LoRA adapters.")
    checkpoints: tuple[CheckpointSettings, ...] = Field(default=(), max_length=100_000, description="RL checkpoints.")
    providers: tuple[ProviderSettings, ...] = Field(
        default=(), max_length=100, description="Outside providers, which serve the models listed with them."
    )
    warmups: tuple[WarmupSchedule, ...] = Field(
        default=(), max_length=10_000, description="Models that are started and kept at certain times."
    )
    webhooks: tuple[ReceiverSettings, ...] = Field(
        default=(), max_length=32, description="Who is told what becomes of models and of jobs."
    )
    replica_host: Literal["loopback", "node"] = Field(
        default="loopback",
        description="Where engine replicas listen: `loopback` on one machine, `node` (the node's own address) on a"
        " cluster of several. Replicas answer only gateways, which know each replica's secret.",
    )
    store: str = Field(
        default="run/raymux.db",
        min_length=1,
        max_length=1024,
        description="SQLite file that keeps what is registered, promoted, stopped and kept warm at run time, relative"
        " to the project. Each raymux needs a file of its own; a change takes effect with the manager's next start.",
    )
    store_redis: StoreRedisSettings | None = Field(
        default=None,
        description="A Redis server that keeps the same instead of the file. A change takes effect with the manager's"
        " next start.",
    )
    launcher_config: str = Field(
        default="~/ray_bootstrap_config.yaml",
        max_length=1024,
        description="Where the head node has the cluster launcher's configuration, which tells what nodes Ray's"
        " autoscaler may add; the default is where `ray up` puts it. A change takes effect with the manager's next"
        " start.",
    )
    preload: bool = Field(
        default=True,
        description="Keep a process with vLLM imported on the head node (about 0.7 GB of memory), from which replicas"
        " on its CPU start in a fraction of the time. Only where a model has a CPU variant.",
    )
    runtime_sources: tuple[SourcePlace, ...] = Field(
        default=(),
        max_length=100,
        description="Where the files of models registered at run time may lie: folders, relative to the project, and"
        " URLs such as `s3://bucket/adapters/`, `hf://owner` or `https://models.example.com`.",
    )
    source_cache: SourceCacheSettings = Field(
        default=SourceCacheSettings(), description="What a node keeps of the files that it has fetched."
    )
    fine_tuning: FineTuningSettings | None = Field(
        default=None,
        description="Set it (`fine_tuning: {}`) to take training files and fine-tuning jobs (`/v1/files`,"
        " `/v1/fine_tuning/jobs`).",
    )

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> CatalogSettings:
        seen: set[str] = set()
        if len({provider.name for provider in self.providers}) != len(self.providers):
            raise ValueError("providers: two providers have the same name")
        if len({receiver.url for receiver in self.webhooks}) != len(self.webhooks):
            raise ValueError("webhooks: two receivers have the same url")
        for where, name in self._names():
            if name in seen:
                raise ValueError(f"{where}: the name {name} is taken already")
            seen.add(name)
        bases = {name: model for model in self.models for name in (model.name, *model.aliases)}
        derived: set[ParsedName] = set()
        for where, entry in self._derived():
            parsed = parse_name(entry.name)
            base = bases.get(parsed.base)
            if base is None:
                raise ValueError(f"{where}.name: no model is named {parsed.base}")
            canonical = parsed._replace(base=base.name)
            if canonical in derived:
                raise ValueError(f"{where}.name: the name {entry.name} is taken already, by another name of its base")
            derived.add(canonical)
            full = isinstance(entry, CheckpointSettings) and entry.kind == "full"
            if not full and base.adapters is None:
                raise ValueError(f"{where}: the model {base.name} has no `adapters:` section, so it serves none")
        require_equal_shapes(self.models)
        self._require_fallbacks(seen)
        for index, schedule in enumerate(self.warmups):
            if schedule.model not in seen:
                raise ValueError(f"warmups.{index}.model: no model is named {schedule.model}")
            if parse_name(schedule.model).base not in bases:
                raise ValueError(f"warmups.{index}.model: {schedule.model} is a provider's; it is not started here")
            shapes = [variant.shape for variant in bases[parse_name(schedule.model).base].variants]
            for shape in schedule.gpu_preference:
                if shape not in shapes:
                    raise ValueError(f"warmups.{index}.gpu_preference: {schedule.model} has no variant {shape}")
        return self

    def _require_fallbacks(self, names: set[str]) -> None:
        tasks = {name: model.tasks for model in self.models for name in (model.name, *model.aliases)}
        tasks |= {name: model.tasks for _, model, own in self._provided() for name in own}
        wishes = [(f"models.{index}", model) for index, model in enumerate(self.models)]
        wishes += [(where, model) for where, model, _ in self._provided()]
        for where, model in wishes:
            for name in model.fallbacks:
                if name not in names:
                    raise ValueError(f"{where}.fallbacks: no model is named {name}")
                if tasks[parse_name(name).base] != model.tasks:
                    raise ValueError(f"{where}.fallbacks: {name} does not do the tasks of {model.name}")

    def _provided(self) -> Iterator[tuple[str, ProviderModelSettings, tuple[str, ...]]]:
        """Place, settings and names of each provider's model."""
        for index, provider in enumerate(self.providers):
            for number, model in enumerate(provider.models):
                yield f"providers.{index}.models.{number}", model, (provider.full_name(model), *model.aliases)

    def _names(self) -> Iterator[tuple[str, str]]:
        for index, model in enumerate(self.models):
            yield f"models.{index}.name", model.name
            yield from ((f"models.{index}.aliases", alias) for alias in model.aliases)
        yield from ((f"{where}.name", entry.name) for where, entry in self._derived())
        yield from ((where, name) for where, _, names in self._provided() for name in names)

    def _derived(self) -> Iterator[tuple[str, AdapterSettings | CheckpointSettings]]:
        yield from ((f"adapters.{index}", adapter) for index, adapter in enumerate(self.adapters))
        yield from ((f"checkpoints.{index}", checkpoint) for index, checkpoint in enumerate(self.checkpoints))


class DefaultModels(Settings):
    """The model an endpoint uses when a request names none."""

    chat: str | None = Field(default=None, description="For chat, completions, responses, messages and tokenize.")
    embeddings: str | None = Field(default=None, description="For embeddings.")
    rerank: str | None = Field(default=None, description="For rerank and score.")


class GatewaySettings(Settings):
    """The `user_config` of the Gateway deployment."""

    defaults: DefaultModels = Field(default=DefaultModels(), description="Models of requests that name none.")
    max_body_bytes: int = Field(
        default=10 * 1024 * 1024, ge=1024, le=1024**3, description="Largest request body, bytes; a larger one gets 413."
    )
    comment_interval_s: float = Field(
        default=5.0, ge=0.1, le=60, description="Time between the SSE comments a stream gets while its model starts."
    )
    connect_timeout_s: float = Field(default=5.0, ge=0.1, le=60, description="Time to connect to a replica.")
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="Longest time a whole request may take, a cold start included; without it a request takes as long"
        " as it takes.",
    )
    first_token_timeout_s: float = Field(
        default=300,
        ge=1,
        le=7_200,
        description="Longest time from sending a stream to a replica to its first token. A replica that takes longer"
        " is taken to hang: it is left alone for a while, and the request goes to another one.",
    )
    replica_choice: Literal["first_token", "least_load"] = Field(
        default="first_token",
        description="Which of several replicas gets a prompt: `first_token`, the one that should begin to answer first,"
        " or `least_load`, the one with the fewest requests, whatever its prefix cache holds.",
    )
    keys: tuple[ApiKeySettings, ...] = Field(
        default=(),
        max_length=100_000,
        description="API keys, by their hashes. Those of the environment variables RAYMUX_API_KEYS and"
        " RAYMUX_ADMIN_KEYS are valid beside them. Without any key everybody who reaches the port may do everything.",
    )
    allow_unauthenticated: bool = Field(
        default=False, description="Listen on other addresses than loopback although there are no keys."
    )
    redis: RedisSettings | None = Field(
        default=None, description="A Redis server in which gateways share limits, cached answers and idempotency keys."
    )
    cache: CacheSettings | None = Field(
        default=None, description="Set it (`cache: {}`) to have answers of deterministic requests given again."
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="Limits of each key that has none of its own.")

    @model_validator(mode="after")
    def _keys_are_unique(self) -> GatewaySettings:
        for field in ("id", "sha256"):
            values = [getattr(key, field) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"keys: two keys have the same {field}")
        return self
