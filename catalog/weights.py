"""Whether a folder holds a model's whole weights: its configuration, and every safetensors file to its last byte.

An upload that is still under way, or was broken off, is told from a complete one without loading it. Formats: a
safetensors file is 8 bytes (the header's length, little-endian), the header (JSON; `data_offsets` of each tensor), and
the data; `model.safetensors.index.json` names the file of each tensor in its `weight_map`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 100 * 1024 * 1024


class WeightsIncomplete(ValueError):
    """The folder cannot be served; the message says what is missing, by file name only."""


def require_complete(folder: Path, config_name: str = "config.json") -> None:
    """Raise WeightsIncomplete unless `folder` holds `config_name` and at least one whole safetensors file.

    Where there is an index, every file it names must be there and whole.
    """
    _read_object(folder / config_name)
    for name in _weight_files(folder):
        _require_whole(folder / name)


def _weight_files(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = _read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise WeightsIncomplete(f"{index.name} has no weight_map")
        names = sorted({str(name) for name in weight_map.values()})
        if any("/" in name or not name.endswith(".safetensors") for name in names):
            raise WeightsIncomplete(f"{index.name} names files that are no safetensors files beside it")
        return names
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        raise WeightsIncomplete("no *.safetensors file is there; pickled weights are not loaded")
    return names


def _require_whole(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if not 2 <= header_bytes <= MAX_HEADER_BYTES:
                raise WeightsIncomplete(f"{path.name} is no safetensors file, or is not complete")
            header = json.loads(file.read(header_bytes))
            size = file.seek(0, 2)
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except FileNotFoundError:
        raise WeightsIncomplete(f"{path.name} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        if isinstance(error, WeightsIncomplete):
            raise
        raise WeightsIncomplete(f"{path.name} is no safetensors file, or is not complete") from None
    wanted = 8 + header_bytes + max(ends, default=0)
    if size != wanted:
        raise WeightsIncomplete(f"{path.name} has {size} bytes instead of {wanted}: is it still being written?")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsIncomplete(f"{path.name} is missing") from None
    except (OSError, ValueError, RecursionError):
        raise WeightsIncomplete(f"{path.name} cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise WeightsIncomplete(f"{path.name} is not a JSON object")
    return value
