"""What an operator writes about a model: weights, variants, engine, adapters, checkpoints, life."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from catalog.gpus import GpuShape
from catalog.names import AdapterName, BaseName, CheckpointName, parse_name
from catalog.remote import is_remote, parse_place, parse_remote


class Settings(BaseModel):
    """Base of every configuration model: frozen, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(StrEnum):
    """What a model can be asked to do."""

    GENERATE = "generate"
    EMBED = "embed"
    SCORE = "score"


def _shape(text: str) -> str:
    return str(GpuShape.parse(text))


ShapeText = Annotated[str, AfterValidator(_shape)]


def _source(text: str) -> str:
    if is_remote(text):
        parse_remote(text)
    return text


def _place(text: str) -> str:
    if is_remote(text):
        parse_place(text)
    return text


Source = Annotated[str, AfterValidator(_source), Field(min_length=1, max_length=1024)]
SourcePlace = Annotated[str, AfterValidator(_place), Field(min_length=1, max_length=1024)]

# Set by raymux for every engine, so an operator may not set them a second time.
RESERVED_ENGINE_ARGS = frozenset(
    {
        "model", "served_model_name", "host", "port", "uds", "api_key", "enable_lora", "max_loras", "max_cpu_loras",
        "max_lora_rank", "lora_modules", "tensor_parallel_size", "pipeline_parallel_size",
        "distributed_executor_backend", "runner", "dtype", "max_model_len", "max_num_seqs", "enforce_eager",
        "gpu_memory_utilization", "trust_remote_code", "allowed_local_media_path", "enable_sleep_mode",
    }
)  # fmt: skip


# vLLM's own on most GPUs.
DEFAULT_MAX_NUM_SEQS = 256


class EmulatedEngine(Settings):
    """How the emulated engine paces itself. It repeats a fixed vocabulary and knows no language."""

    token_interval_ms: float = Field(
        default=5.0, ge=0, le=10_000, description="Time from one token to the next, milliseconds."
    )
    prefill_ms: float = Field(default=0.0, ge=0, le=60_000, description="Time to the first token, milliseconds.")
    prefill_tokens_per_s: float | None = Field(
        default=None,
        gt=0,
        le=10_000_000,
        description="Tokens of prompts computed in a second, one prompt after the other; null for no time at all.",
    )
    prefix_cache_tokens: int = Field(
        default=0, ge=0, le=10_000_000, description="Tokens of prompts that are kept and not computed again."
    )
    start_s: float = Field(default=0.0, ge=0, le=600, description="Time the engine takes to start, seconds.")
    fail_start: str = Field(default="", max_length=200, description="When set, every start fails with this reason.")
    sleep_s: float = Field(default=0.0, ge=0, le=600, description="Time the engine takes to go to sleep, seconds.")
    wake_s: float = Field(default=0.0, ge=0, le=600, description="Time the engine takes to wake up, seconds.")
    journal: str = Field(
        default="",
        pattern=r"^([a-z0-9-]{1,60}\.jsonl)?$",
        description="A file in the system's temporary folder to which the engine appends when it wakes and sleeps.",
    )


class EngineSettings(Settings):
    """How a model's engine runs. Defaults are vLLM's own unless said otherwise."""

    kind: Literal["vllm", "emulated"] = Field(
        default="vllm",
        description="`vllm`, or `emulated`: a paced stand-in for tests and benchmarks that needs no weights.",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(default="auto", description="Type of the weights.")
    max_model_len: int | None = Field(default=None, ge=16, le=10_000_000, description="Context length, tokens.")
    max_num_seqs: int | None = Field(default=None, ge=1, le=8192, description="Sequences one replica decodes at once.")
    enforce_eager: bool = Field(
        default=False, description="Skip graph capture and compilation: starts faster, runs slower."
    )
    gpu_memory_utilization: float | None = Field(
        default=None, gt=0, le=1, description="Share of the GPU's memory this engine takes, 0 to 1."
    )
    cpu_kv_cache_gib: int = Field(
        default=1, ge=1, le=1024, description="Memory for the KV cache of a CPU variant, GiB."
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="Further engine arguments by vLLM's names with underscores, e.g. `tool_call_parser: hermes`.",
    )
    emulated: EmulatedEngine = Field(default=EmulatedEngine(), description="Pace of the emulated engine.")

    @model_validator(mode="after")
    def _no_reserved_args(self) -> EngineSettings:
        reserved = sorted(RESERVED_ENGINE_ARGS & {name.replace("-", "_") for name in self.args})
        if reserved:
            raise ValueError(f"args may not set {', '.join(reserved)}: raymux sets it, or a field of its own does")
        return self


class VariantSettings(Settings):
    """One way to run a model: a GPU shape, and how many replicas of it."""

    shape: ShapeText = Field(description="`TYPE`, `TYPE:COUNT` or `CPU`.")
    max_replicas: int = Field(default=1, ge=1, le=1000, description="Most replicas of this variant.")
    num_cpus: float = Field(default=1.0, ge=0, le=1024, description="Logical CPUs Ray reserves for a replica.")
    target_ongoing_requests: int = Field(
        default=32,
        ge=1,
        le=100_000,
        description="Ongoing requests one replica should have; more ask for another replica.",
    )
    gpu_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of one GPU that a replica reserves, so that several small models share it; the engine then"
        " takes 0.9 of that share of the memory unless `gpu_memory_utilization` says otherwise.",
    )
    gpus_per_node: int = Field(
        default=8,
        ge=1,
        le=64,
        description="GPUs of this type on a node. A shape with more of them runs as pipeline stages over nodes.",
    )
    tensor_parallel_size: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Ranks of a CPU variant, which share `num_cpus`. On GPUs the shape's count decides.",
    )
    sleep_group: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Variants of one group, all of the same GPU shape, share one set of GPUs: one of their engines is"
        " awake at a time, and the others sleep with their weights in host memory.",
    )
    max_awake_s: float = Field(
        default=30,
        ge=1,
        le=86_400,
        description="Longest turn of this variant's engine while others of its `sleep_group` wait for theirs, seconds;"
        " requests that run when it ends are finished.",
    )

    @model_validator(mode="after")
    def _placeable(self) -> VariantSettings:
        shape = GpuShape.parse(self.shape)
        if self.gpu_fraction is not None and shape.count != 1:
            raise ValueError("gpu_fraction: only a shape of one GPU can be shared")
        if self.tensor_parallel_size > 1 and not shape.is_cpu:
            raise ValueError("tensor_parallel_size: on GPUs it is the shape's count; set it for CPU variants only")
        if self.tensor_parallel_size > 1 and self.num_cpus == 0:
            raise ValueError("num_cpus: the ranks of tensor_parallel_size share it, so it must be above 0")
        if self.sleep_group is not None:
            self._require_groupable(shape)
        if shape.count > self.gpus_per_node and shape.count % self.gpus_per_node:
            raise ValueError(
                f"shape: {shape.count} GPUs over nodes of {self.gpus_per_node} do not make equal pipeline stages"
            )
        return self

    def _require_groupable(self, shape: GpuShape) -> None:
        if shape.is_cpu or self.gpu_fraction is not None:
            raise ValueError("sleep_group: only a shape of whole GPUs can be shared by engines that sleep")
        if shape.count > self.gpus_per_node:
            raise ValueError("sleep_group: the GPUs of a group are on one node, so gpus_per_node must be as many")
        if self.max_replicas > 1:
            raise ValueError("sleep_group: a variant has one engine in its group, so max_replicas must be 1")


class LifecycleSettings(Settings):
    """When a model starts, waits and leaves."""

    idle_timeout_s: float = Field(
        default=300, ge=1, le=86_400, description="Time without a request before the last replica goes."
    )
    min_idle_timeout_s: float | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Set it to have the idle time learned from the model's own pauses, between this and"
        " `idle_timeout_s`; without it the idle time is `idle_timeout_s`.",
    )
    prewarm: bool = Field(
        default=False,
        description="Whether the model is started ahead of the times of day at which its past days had requests.",
    )
    cold_start_timeout_s: float = Field(
        default=600, ge=1, le=7_200, description="Longest wait of a request for a start."
    )
    drain_timeout_s: float = Field(
        default=600, ge=1, le=7_200, description="Time running requests get when a replica leaves."
    )
    retry_backoff_s: float = Field(
        default=5,
        ge=0.1,
        le=600,
        description="Wait after a failed start before the next try; doubles with each failure, up to 300.",
    )

    @model_validator(mode="after")
    def _idle_bounds(self) -> LifecycleSettings:
        if self.min_idle_timeout_s is not None and self.min_idle_timeout_s > self.idle_timeout_s:
            raise ValueError("min_idle_timeout_s: must not be above idle_timeout_s")
        return self


class QueueSettings(Settings):
    """How many requests a model takes at once, and how many more may wait for it."""

    max_ongoing_per_replica: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Requests one replica gets at once; the others wait in the gateway, where tenants share by weight."
        " Without it `max_num_seqs`, or 256.",
    )
    max_queued_requests: int = Field(
        default=256, ge=0, le=100_000, description="Requests that may wait in a gateway; further ones get 429."
    )
    max_queue_wait_s: float = Field(
        default=60,
        ge=0.1,
        le=7_200,
        description="Longest wait for a place; a request that would wait longer, or has, gets 429. The wait for a"
        " model's start does not count.",
    )


class AdapterPool(Settings):
    """How many LoRA adapters a replica of the model holds."""

    max_adapters_per_replica: int = Field(
        default=4, ge=1, le=256, description="Adapters a replica holds before the least recently used leaves."
    )
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = Field(default=16, description="Largest adapter rank.")


class ModelSettings(Settings):
    """A base model and how it is served."""

    name: BaseName = Field(description="The name requests use.")
    aliases: tuple[BaseName, ...] = Field(default=(), max_length=32, description="Further names of the same model.")
    source: Source = Field(
        description="Weights: a folder (relative to the project), `package:<module>/<folder>` inside an installed"
        " Python package, a hub id such as `Qwen/Qwen3-0.6B`, or a URL: `hf://owner/name@revision/folder`,"
        " `s3://bucket/folder`, `gs://bucket/folder` or `https://host/archive.tar.gz`.",
    )
    tasks: tuple[Task, ...] = Field(
        default=(Task.GENERATE,), min_length=1, description="`generate`, or `embed` and `score`."
    )
    variants: tuple[VariantSettings, ...] = Field(min_length=1, max_length=16, description="In order of preference.")
    engine: EngineSettings = Field(default=EngineSettings(), description="How the engine runs.")
    adapters: AdapterPool | None = Field(default=None, description="Set it to serve LoRA adapters of this model.")
    lifecycle: LifecycleSettings = Field(default=LifecycleSettings(), description="When it starts and leaves.")
    queue: QueueSettings = Field(default=QueueSettings(), description="How many requests it takes, and how many wait.")
    fallbacks: tuple[str, ...] = Field(
        default=(),
        max_length=8,
        description="Models that answer in its place, in this order, when it failed, is stopped, has no GPU or has"
        " a full queue. `X-Raymux-Model` says which one did.",
    )

    @property
    def max_ongoing_per_replica(self) -> int:
        """Requests one replica gets at once."""
        return self.queue.max_ongoing_per_replica or self.engine.max_num_seqs or DEFAULT_MAX_NUM_SEQS

    @model_validator(mode="after")
    def _consistent(self) -> ModelSettings:
        shapes = [variant.shape for variant in self.variants]
        if len(set(shapes)) != len(shapes):
            raise ValueError("variants: each shape may be listed once")
        if Task.GENERATE in self.tasks and len(self.tasks) > 1:
            raise ValueError("tasks: a model either generates, or embeds and scores")
        if self.name in self.fallbacks:
            raise ValueError("fallbacks: a model does not stand in for itself")
        if self.adapters is not None and Task.GENERATE not in self.tasks:
            raise ValueError("adapters: only a model that generates serves adapters")
        return self


class AdapterSettings(Settings):
    """A LoRA adapter, served on its base model's replicas."""

    name: AdapterName = Field(description="`peft:<base>:<job>`.")
    source: Source = Field(description="Folder or URL of the adapter in PEFT's format.")


class CheckpointSettings(Settings):
    """An RL checkpoint: full weights become a deployment of their own, an adapter joins its base model's replicas."""

    name: CheckpointName = Field(description="`rl:<base>:<job>:<checkpoint>`.")
    source: Source = Field(description="Folder or URL of the checkpoint.")
    kind: Literal["full", "adapter"] = Field(default="full", description="Full weights, or a LoRA adapter.")
    auto_promote: bool = Field(default=True, description="Whether the first request promotes it.")

    @model_validator(mode="after")
    def _names_a_checkpoint(self) -> CheckpointSettings:
        if parse_name(self.name).checkpoint is None:
            raise ValueError("name: expected rl:<base>:<job>:<checkpoint>")
        return self
