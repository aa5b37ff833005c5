"""GPU shapes: what a variant asks for, written `TYPE` or `TYPE:COUNT`, or `CPU`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The accelerator types that Ray labels nodes with, by the names operators write.
GPU_TYPES = ("A10G", "L4", "T4", "L40S", "A100", "H100", "H200", "B200")
MAX_GPU_COUNT = 64

# Memory that CUDA reports for one GPU, GiB; the driver keeps the rest of what is on the box. T4 and L40S: out-of-memory
# messages in hpcaitech/Open-Sora#697 and Wan-Video/Wan2.1#205. A100 (and H100) with 80 GB: vllm-project/vllm#10511.
# The others: nvidia-smi's totals (L4 and A10G 22.5, H200 140.4, B200 179.1) less 0.3 to 0.7, not measured here.
# An A100 may also have 40 GB; Ray gives both the same accelerator type, so the larger is taken.
GPU_MEMORY_GIB = {
    "A10G": 22.2, "L4": 22.2, "T4": 14.75, "L40S": 44.5, "A100": 79.3, "H100": 79.2, "H200": 139.9, "B200": 178.4,
}  # fmt: skip

# Share of a GPU's memory that vLLM takes for itself unless told otherwise (`vllm/config/cache.py` of vLLM 0.32).
DEFAULT_MEMORY_RATIO = 0.92
# Of a GPU's fraction, the engine's own accounting gets so much; the rest is for its CUDA context and graphs.
MEMORY_OF_SHARE_RATIO = 0.9

_SHAPE = re.compile(r"([A-Z][A-Z0-9]*)(?::([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class GpuShape:
    """`count` accelerators of `type`; the shape `CPU` has no accelerator and a count of 0."""

    type: str
    count: int

    @classmethod
    def parse(cls, text: str) -> GpuShape:
        """Read a shape such as `A10G`, `L40S:2` or `CPU`.

        Raises ValueError, with what is allowed, for an unknown type, a count of 0 or above 64, or other spellings.
        """
        if text == "CPU":
            return CPU
        match = _SHAPE.fullmatch(text) if len(text) <= 16 else None
        if match is None or match[1] not in GPU_TYPES:
            raise ValueError(f"a shape is CPU, TYPE or TYPE:COUNT with TYPE one of {', '.join(GPU_TYPES)}")
        count = int(match[2] or 1)
        if count > MAX_GPU_COUNT:
            raise ValueError(f"a shape has at most {MAX_GPU_COUNT} GPUs")
        return cls(match[1], count)

    @property
    def is_cpu(self) -> bool:
        return self.count == 0

    def __str__(self) -> str:
        return self.type if self.count <= 1 else f"{self.type}:{self.count}"


CPU = GpuShape("CPU", 0)


def spills(shapes: Sequence[str]) -> tuple[bool, ...]:
    """For each of a model's shapes, in its order of preference, whether it is a CPU that stands in for earlier GPUs."""
    return tuple(shape == "CPU" and any(each != "CPU" for each in shapes[:index]) for index, shape in enumerate(shapes))
