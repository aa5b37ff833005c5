"""Whether a variant's accelerators can hold its model, before anything is started.

On each GPU there must be room for

    weights / GPUs + adapter slots + KV cache of one sequence of max_model_len + what the engine takes besides

within the GPU's memory x `gpu_memory_utilization`: the same sum that vLLM makes when it starts, where it fails after
minutes. All terms are lower bounds, so a variant that is refused here would not start, while one that passes still may
not: images, speculative decoding, and activations above the allowance are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from catalog.architecture import BYTES_OF_DTYPE, Architecture
from catalog.catalog import VariantSpec
from catalog.gpus import DEFAULT_MEMORY_RATIO, GPU_MEMORY_GIB, MAX_GPU_COUNT, MEMORY_OF_SHARE_RATIO, GpuShape
from catalog.models import Task, VariantSettings
from catalog.weights import WeightsIncomplete, indexed_bytes, read_config, stored_bytes

GIB = 1024**3

# Activations of the largest batch, CUDA graphs and NCCL's buffers, on each GPU. The least seen in vLLM's own reports is
# 0.57 GiB (vllm-project/vllm#14447: 0.37 of activations, 0.20 outside of torch); an 8B model took 1.26 of activations
# alone (vllm-project/vllm#10511).
ENGINE_BYTES = GIB // 2

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
# Engines quantize while they load by `quantization` among the engine's arguments; of other methods, the least is taken.
_BITS_OF_QUANTIZATION = {"fp8": 8, "experts_int8": 8}
_FEWEST_BITS = 4
_BYTES_OF_KV_DTYPE = {"float16": 2.0, "bfloat16": 2.0, "nvfp4": 0.5}
# Of vLLM's KV types with names of their own, the narrowest keeps 3 bits.
_FEWEST_KV_BYTES = 0.375


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of a model from its folder. `stored` is bytes by safetensors' type, None where no file tells."""

    config: dict[str, Any]
    stored: dict[str, int] | None
    longest: int | None = None

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read `config.json`, the headers of the safetensors files, and the tokenizer's limit.

        Raises WeightsIncomplete when there is no readable `config.json`.
        """
        config = read_config(folder)
        # Files may keep a copy of tied embeddings, which engines do not load.
        copy = frozenset({"lm_head.weight"}) if Architecture.parse(config).is_tied else frozenset[str]()
        try:
            stored: dict[str, int] | None = dict(stored_bytes(folder, copy))
        except WeightsIncomplete:
            total = indexed_bytes(folder)
            stored = {_safetensors_type(config): total} if total else None
        return cls(config, stored, _tokenizer_limit(folder))


@dataclass(frozen=True, slots=True)
class Needs:
    """What each GPU must hold, bytes; `num_tokens` is the longest sequence's."""

    weights: int
    adapters: int
    kv_cache: int
    engine: int
    num_tokens: int

    @property
    def total(self) -> int:
        return self.weights + self.adapters + self.kv_cache + self.engine


def problem(checkpoint: Checkpoint, spec: VariantSpec) -> str | None:
    """Why the variant cannot hold the checkpoint, by how many GiB, and what would; None when it may.

    An emulated engine holds nothing. On the CPU only the KV cache is bounded, by `cpu_kv_cache_gib` for each rank.
    """
    if spec.engine.kind != "vllm":
        return None
    shape = GpuShape.parse(spec.settings.shape)
    architecture = Architecture.parse({**checkpoint.config, **_overrides(spec)})
    if shape.is_cpu:
        return _cpu_problem(checkpoint, architecture, spec)
    would_do = _smallest(checkpoint, architecture, spec, shape.type)
    advice = f"{would_do} would do" if would_do else f"no number of {shape.type} up to {MAX_GPU_COUNT} would do"
    tensor, _ = _ranks(shape.count, spec.settings.gpus_per_node)
    if not architecture.splits(tensor):
        return f"its {architecture.num_heads} attention heads cannot be split over {tensor} GPUs; {advice}"
    needs, room = gpu_needs(checkpoint, architecture, spec, shape.count), gpu_room(spec.settings, spec)
    if needs.total <= room:
        return None
    parts = {
        "weights": needs.weights,
        "adapters": needs.adapters,
        f"KV cache of {needs.num_tokens} tokens": needs.kv_cache,
        "engine": needs.engine,
    }
    listed = ", ".join(f"{name} {_gib(size * shape.count)}" for name, size in parts.items() if size)
    return (
        f"the model needs at least {_gib(needs.total * shape.count)} GiB ({listed}) and {_shown(spec.settings)} has"
        f" {_gib(room * shape.count)}: {_gib((needs.total - room) * shape.count)} GiB short; {advice}"
    )


def gpu_room(settings: VariantSettings, spec: VariantSpec) -> int:
    """What vLLM may take of each GPU, bytes."""
    share = settings.gpu_fraction
    ratio = spec.engine.gpu_memory_utilization or (share * MEMORY_OF_SHARE_RATIO if share else DEFAULT_MEMORY_RATIO)
    if _number(spec, "kv_cache_memory_bytes"):
        # vLLM then ignores its share of the memory.
        ratio = 1.0
    return int(GPU_MEMORY_GIB[GpuShape.parse(settings.shape).type] * GIB * ratio)


def gpu_needs(checkpoint: Checkpoint, architecture: Architecture, spec: VariantSpec, num_gpus: int) -> Needs:
    """What each of `num_gpus` GPUs must hold, with pipeline stages where a node has fewer."""
    tensor, stages = _ranks(num_gpus, spec.settings.gpus_per_node)
    dtype_bytes = _dtype_bytes(architecture, spec)
    weights = _weight_bytes(checkpoint, architecture, spec, dtype_bytes) // num_gpus
    offloaded = int(_number(spec, "cpu_offload_gb") * GIB)
    pool = spec.adapters
    # One slot more than adapters, for requests of the base model.
    slots = (pool.max_adapters_per_replica + 1) if pool else 0
    adapters = slots * architecture.adapter_bytes(pool.max_rank, tensor, dtype_bytes) // stages if pool else 0
    num_tokens = _num_tokens(checkpoint, architecture, spec)
    kv_cache = _kv_bytes(architecture, spec, num_tokens, tensor) // stages
    kv_cache = max(kv_cache, int(_number(spec, "kv_cache_memory_bytes")))
    return Needs(max(0, weights - offloaded), adapters, kv_cache, ENGINE_BYTES, num_tokens)


def _cpu_problem(checkpoint: Checkpoint, architecture: Architecture, spec: VariantSpec) -> str | None:
    num_tokens = _num_tokens(checkpoint, architecture, spec)
    needed = _kv_bytes(architecture, spec, num_tokens, spec.settings.tensor_parallel_size)
    given = spec.engine.cpu_kv_cache_gib * GIB
    if needed <= given:
        return None
    return (
        f"one sequence of {num_tokens} tokens needs {_gib(needed)} GiB of KV cache and cpu_kv_cache_gib gives"
        f" {spec.engine.cpu_kv_cache_gib}: {_gib(needed - given)} GiB short; set it to {ceil(needed / GIB)},"
        " or a smaller max_model_len"
    )


def _smallest(checkpoint: Checkpoint, architecture: Architecture, spec: VariantSpec, type: str) -> GpuShape | None:
    """The fewest whole GPUs of this type that would hold the model and divide its heads."""
    per_node = spec.settings.gpus_per_node
    for count in range(1, MAX_GPU_COUNT + 1):
        if (count > per_node and count % per_node) or not architecture.splits(_ranks(count, per_node)[0]):
            continue
        settings = spec.settings.model_copy(update={"shape": str(GpuShape(type, count)), "gpu_fraction": None})
        if gpu_needs(checkpoint, architecture, spec, count).total <= gpu_room(settings, spec):
            return GpuShape(type, count)
    return None


def _ranks(num_gpus: int, gpus_per_node: int) -> tuple[int, int]:
    """Tensor-parallel ranks of a stage, and pipeline stages: as `autoscaling/placement.py` places them."""
    stages = ceil(num_gpus / gpus_per_node)
    return num_gpus // stages, stages


def _weight_bytes(checkpoint: Checkpoint, architecture: Architecture, spec: VariantSpec, dtype_bytes: int) -> int:
    """Bytes of all weights in memory. Floats are turned into the engine's type, but for quantized checkpoints."""
    if checkpoint.stored is None:
        size = architecture.weight_bytes(dtype_bytes)
    elif architecture.weight_bits is not None:
        size = sum(checkpoint.stored.values())
    else:
        size = sum(
            stored * dtype_bytes // _FLOATS[kind] if kind in _FLOATS else stored
            for kind, stored in checkpoint.stored.items()
        )
    method = _argument(spec, "quantization")
    if method and architecture.weight_bits is None:
        bits = _BITS_OF_QUANTIZATION.get(str(method), _FEWEST_BITS)
        return size * min(bits, 8 * dtype_bytes) // (8 * dtype_bytes)
    return size


def _kv_bytes(architecture: Architecture, spec: VariantSpec, num_tokens: int, tensor_parallel_size: int) -> int:
    if Task.GENERATE not in spec.tasks and not architecture.keeps_kv_when_pooling:
        return 0
    ranks = max(1, int(_number(spec, "decode_context_parallel_size")))
    element_bytes = _kv_element_bytes(architecture, spec)
    return architecture.kv_bytes(ceil(num_tokens / ranks), tensor_parallel_size, element_bytes)


def _kv_element_bytes(architecture: Architecture, spec: VariantSpec) -> float:
    name = str(_argument(spec, "kv_cache_dtype") or "auto")
    if name == "auto":
        return architecture.kv_bits / 8 if architecture.kv_bits else float(_dtype_bytes(architecture, spec))
    if name.startswith(("fp8", "int8")):
        return 1.0
    return _BYTES_OF_KV_DTYPE.get(name, _FEWEST_KV_BYTES)


def _dtype_bytes(architecture: Architecture, spec: VariantSpec) -> int:
    """Bytes of a weight that is not quantized; by itself vLLM loads models of float32 in two bytes."""
    return 2 if spec.engine.dtype == "auto" else BYTES_OF_DTYPE[spec.engine.dtype]


def _num_tokens(checkpoint: Checkpoint, architecture: Architecture, spec: VariantSpec) -> int:
    """Tokens of the longest sequence: as configured, else what the model and its tokenizer allow; 0 when unknown."""
    if spec.engine.max_model_len is not None:
        return spec.engine.max_model_len
    return min(architecture.max_model_len, checkpoint.longest or architecture.max_model_len)


def _tokenizer_limit(folder: Path) -> int | None:
    try:
        limit = read_config(folder, "tokenizer_config.json").get("model_max_length")
    except WeightsIncomplete:
        return None
    return limit if type(limit) is int and limit > 0 else None


def _safetensors_type(config: dict[str, Any]) -> str:
    return "F32" if Architecture.parse(config).dtype == "float32" else "BF16"


def _overrides(spec: VariantSpec) -> dict[str, Any]:
    overrides = _argument(spec, "hf_overrides")
    return overrides if isinstance(overrides, dict) else {}


def _number(spec: VariantSpec, name: str) -> float:
    """An engine argument that is a number above 0, else 0."""
    value = _argument(spec, name)
    return float(value) if type(value) in (int, float) and 0 < value < 2**50 else 0.0


def _argument(spec: VariantSpec, name: str) -> Any:
    return spec.engine.args.get(name, spec.engine.args.get(name.replace("_", "-")))


def _shown(settings: VariantSettings) -> str:
    return f"{settings.gpu_fraction} of a {settings.shape}" if settings.gpu_fraction else settings.shape


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
