"""Checks a LoRA adapter's files before an engine sees them: safetensors only, rank, base model, tensor names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class BadAdapter(ValueError):
    """The adapter cannot be served; the message says why."""


def check_adapter(folder: str, base_folder: str, max_rank: int) -> None:
    """Raise BadAdapter unless `folder` holds a PEFT LoRA adapter that fits the base model.

    Format: PEFT's `adapter_config.json` (`peft_type`, `r`) beside `adapter_model.safetensors`, whose `lora_A` tensors
    are `[rank, in_features]` and `lora_B` tensors `[out_features, rank]`.
    """
    path = Path(folder)
    config = _read_config(path)
    rank = config.get("r")
    if config.get("peft_type") != "LORA":
        raise BadAdapter("adapter_config.json: peft_type is not LORA")
    if not isinstance(rank, int) or not 1 <= rank <= max_rank:
        raise BadAdapter(f"the adapter's rank is {rank!r}; this model serves ranks 1 to {max_rank}")
    _check_tensors(path, rank, _base_widths(base_folder))


def _read_config(path: Path) -> dict[str, Any]:
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        pickled = any(file.suffix in _PICKLES for file in path.iterdir()) if path.is_dir() else False
        hint = "; pickled weights are not loaded" if pickled else ""
        raise BadAdapter(f"adapter_model.safetensors is missing{hint}")
    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise BadAdapter("adapter_config.json is missing or not JSON") from None
    if not isinstance(config, dict):
        raise BadAdapter("adapter_config.json is not an object")
    return config


def _check_tensors(path: Path, rank: int, widths: set[int]) -> None:
    try:
        with safe_open(path / "adapter_model.safetensors", framework="numpy") as tensors:
            shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        raise BadAdapter("adapter_model.safetensors is damaged or incomplete") from None
    down = {name: shape for name, shape in shapes.items() if ".lora_A." in name}
    up = {name: shape for name, shape in shapes.items() if ".lora_B." in name}
    if not down or len(down) != len(up):
        raise BadAdapter("adapter_model.safetensors holds no complete lora_A and lora_B pairs")
    for name, shape in (*down.items(), *up.items()):
        inner = shape[0] if ".lora_A." in name else shape[-1]
        if len(shape) != 2 or inner > rank:
            raise BadAdapter(f"tensor {name[:120]} has shape {shape}, which does not fit rank {rank}")
        outer = shape[1] if ".lora_A." in name else shape[0]
        if widths and outer not in widths:
            raise BadAdapter(
                f"tensor {name[:120]} is {outer} wide; no layer of the base model is, so it is of another base"
            )


def _base_widths(base_folder: str) -> set[int]:
    """Widths that a linear layer of the base model may have, from its Hugging Face configuration; empty if unknown."""
    try:
        config = json.loads((Path(base_folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if not hidden or not heads:
        return set()
    head_dim = config.get("head_dim") or hidden // heads
    kv_heads = config.get("num_key_value_heads") or heads
    return {
        hidden,
        config.get("intermediate_size", hidden),
        heads * head_dim,
        kv_heads * head_dim,
        config.get("vocab_size", hidden),
    }
