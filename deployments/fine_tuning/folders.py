"""What lies where in a job's folder. Whatever an engine or a later start may read comes to be by one renaming.

checkpoints/step-N    servable: an adapter, or a whole model with its tokenizer
result                the same of the end
state/checkpoint-N    the trainer's own: optimizer, random numbers, place in the data; only those marked as whole
                      are gone on from, and only the last ones stay
state/before.json     what the model said and its loss before the training
state/ray-*           Ray Train's own files, of one start each
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of what a trainer saves, that which an engine loads; nothing pickled is among it.
_SERVABLE = re.compile(
    r"(adapter_config|config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|model\.safetensors\.index)\.json|.*\.safetensors|.*\.jinja|merges\.txt|tokenizer\.model"
)
_WHOLE = "whole"
_STATE = re.compile(r"checkpoint-(\d+)")


class Folders:
    """The folders of one job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"

    def of_ray(self) -> Path:
        """A folder for Ray Train's own files of this start."""
        self.state.mkdir(parents=True, exist_ok=True)
        return self.state / f"ray-{uuid.uuid4().hex}"

    # The trainer's own checkpoints

    def mark_whole(self, step: int) -> None:
        """All of a checkpoint is written."""
        mark = self.state / f"checkpoint-{step}" / _WHOLE
        with mark.open("w") as file:
            os.fsync(file.fileno())

    def last_whole(self) -> Path | None:
        """The checkpoint to go on from; those that were cut short are removed."""
        found: dict[int, Path] = {}
        for path in self.state.glob("checkpoint-*"):
            match = _STATE.fullmatch(path.name)
            if match is None:
                continue
            if (path / _WHOLE).exists():
                found[int(match[1])] = path
            else:
                shutil.rmtree(path, ignore_errors=True)
        return found[max(found)] if found else None

    # What was before the training

    def before(self) -> dict[str, Any] | None:
        """What was noted before the first step; None where nothing was."""
        try:
            return json.loads((self.state / "before.json").read_text())
        except (OSError, ValueError):
            return None

    def note_before(self, noted: dict[str, Any]) -> None:
        """Note it, for later starts."""
        self.state.mkdir(parents=True, exist_ok=True)
        part = self.state / "before.json.part"
        part.write_text(json.dumps(noted))
        part.replace(self.state / "before.json")

    # What is served

    def publish(self, step: int | None, write: Callable[[Path], None]) -> Path:
        """A folder with what of `write`'s files an engine loads: of a step, or the result. Returns where it is."""
        target = self.root / "result" if step is None else self.root / "checkpoints" / f"step-{step}"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".{target.name}-{uuid.uuid4().hex}"
        part.mkdir()
        try:
            write(part)
            for path in part.iterdir():
                if not _SERVABLE.fullmatch(path.name):
                    path.unlink() if path.is_file() else shutil.rmtree(path)
            # A start that died after its checkpoint makes it once more; the same steps lead to the same weights.
            if target.exists():
                shutil.rmtree(target)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return target

    def clear_state(self) -> None:
        """Remove what only a later start would need."""
        for path in self.state.glob("checkpoint-*"):
            shutil.rmtree(path, ignore_errors=True)
