"""A training's weights as an engine loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from catalog.fine_tuning import TrainingPlan


def write_servable(model: Any, tokenizer: Any, plan: TrainingPlan, folder: Path) -> None:
    """Write PEFT's adapter, or the whole model in the base's precision with its tokenizer."""
    if plan.hyperparameters.weights == "lora":
        model.save_pretrained(folder, safe_serialization=True)
        return
    dtype = AutoConfig.from_pretrained(plan.model).dtype or torch.bfloat16
    state = {name: each.detach().to("cpu", dtype, copy=True) for name, each in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)
    # It notes the precision that the model was trained in.
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}, indent=2))
    tokenizer.save_pretrained(folder)
