"""A training's weights as an engine loads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Weights:
    """A model that trains: PEFT's adapter on it, or all of it. `dtype` is the precision that the base is kept in."""

    model: Any
    tokenizer: Any
    dtype: torch.dtype
    is_adapter: bool

    def write(self, folder: Path) -> None:
        """Write the adapter, or the whole model in the base's precision with its tokenizer."""
        if self.is_adapter:
            self.model.save_pretrained(folder, safe_serialization=True)
            return
        state = {name: each.detach().to("cpu", self.dtype, copy=True) for name, each in self.model.state_dict().items()}
        self.model.save_pretrained(folder, state_dict=state)
        # It notes the precision that the model was trained in.
        path, dtype = folder / "config.json", str(self.dtype).removeprefix("torch.")
        path.write_text(json.dumps({**json.loads(path.read_text()), "dtype": dtype}, indent=2))
        self.tokenizer.save_pretrained(folder)
