"""What a replica of a variant reserves in Ray, and how vLLM is spread over it: Serve and vLLM get the same group.

And what a training on the same shape reserves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoscaling.cluster import Resources, Strategy
from catalog.gpus import GpuShape
from catalog.models import VariantSettings

# So little of a node's one accelerator resource that any number of bundles may ask for it; Ray itself uses as much.
TYPE_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Placement:
    """One bundle per GPU (or per rank on the CPU); the replica itself runs in the first, beside that rank's worker.

    `strategy` is STRICT_PACK on one node, or PACK where pipeline stages take several. `num_cpus`, `num_gpus` and
    `accelerator_type` are the replica's own share of the first bundle: with several bundles vLLM's workers hold the
    GPUs, and the replica none. `backend` is vLLM's distributed executor, None for a single rank.
    """

    bundles: tuple[Resources, ...]
    strategy: Strategy
    num_cpus: float
    num_gpus: float = 0.0
    accelerator_type: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    backend: Literal["ray", "mp"] | None = None

    @property
    def is_group(self) -> bool:
        """Whether it takes a placement group; a single bundle is the replica's own resources."""
        return len(self.bundles) > 1


def place(settings: VariantSettings) -> Placement:
    """The placement of each replica of a variant."""
    shape = GpuShape.parse(settings.shape)
    if shape.is_cpu:
        return _on_cpus(settings)
    if settings.sleep_group is not None:
        return _in_group(shape, settings)
    if shape.count == 1:
        return _on_one_gpu(shape.type, settings)
    return _on_gpus(shape, settings)


def _on_cpus(settings: VariantSettings) -> Placement:
    """vLLM's Ray executor knows no CPUs (0.32), so the ranks are processes of the replica, within what it reserves."""
    num_ranks = settings.tensor_parallel_size
    share = settings.num_cpus / num_ranks
    return Placement(
        ({"CPU": share},) * num_ranks,
        "STRICT_PACK",
        share,
        tensor_parallel_size=num_ranks,
        backend="mp" if num_ranks > 1 else None,
    )


def _in_group(shape: GpuShape, settings: VariantSettings) -> Placement:
    """The group's owner holds the GPUs of all its engines; a replica reserves its CPUs, on the owner's node."""
    gpus = {"GPU": float(shape.count), "CPU": settings.num_cpus, f"accelerator_type:{shape.type}": TYPE_SHARE}
    return Placement(
        (gpus,),
        "STRICT_PACK",
        settings.num_cpus,
        tensor_parallel_size=shape.count,
        backend="mp" if shape.count > 1 else None,
    )


def _on_one_gpu(type: str, settings: VariantSettings) -> Placement:
    share = settings.gpu_fraction or 1.0
    bundle = {"GPU": share, "CPU": settings.num_cpus, f"accelerator_type:{type}": TYPE_SHARE}
    return Placement((bundle,), "STRICT_PACK", settings.num_cpus, share, type)


def _on_gpus(shape: GpuShape, settings: VariantSettings) -> Placement:
    worker = {"GPU": 1.0, f"accelerator_type:{shape.type}": TYPE_SHARE}
    first = {**worker, "CPU": settings.num_cpus} if settings.num_cpus else worker
    num_stages = -(-shape.count // settings.gpus_per_node)
    return Placement(
        (first, *(worker,) * (shape.count - 1)),
        "STRICT_PACK" if num_stages == 1 else "PACK",
        settings.num_cpus,
        tensor_parallel_size=shape.count // num_stages,
        pipeline_parallel_size=num_stages,
        backend="ray",
    )


@dataclass(frozen=True, slots=True)
class Workers:
    """Processes that train together: how many, what each reserves, and how they are placed."""

    count: int
    resources: Resources
    strategy: Strategy

    @property
    def bundles(self) -> tuple[Resources, ...]:
        """One for each worker."""
        return (self.resources,) * self.count


def workers(settings: VariantSettings, num_cpus: float) -> Workers:
    """The workers of a training on a variant's shape: one for each GPU, which it has to itself, or one on CPUs.

    A variant that shares its GPUs (`gpu_fraction`, `sleep_group`) does so with engines, not with a training.
    """
    shape = GpuShape.parse(settings.shape)
    if shape.is_cpu:
        return Workers(1, {"CPU": num_cpus}, "STRICT_PACK")
    resources = {"GPU": 1.0, "CPU": num_cpus, f"accelerator_type:{shape.type}": TYPE_SHARE}
    return Workers(shape.count, resources, "STRICT_PACK" if shape.count <= settings.gpus_per_node else "PACK")
