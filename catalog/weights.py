"""Whether a folder holds a model's whole weights: its configuration, and every safetensors file to its last byte.

An upload that is still under way, or was broken off, is told from a complete one without loading it. Formats: a
safetensors file is 8 bytes (the header's length, little-endian), the header (JSON; `data_offsets` of each tensor), and
the data; `model.safetensors.index.json` names the file of each tensor in its `weight_map`.
"""

from __future__ import annotations

import json
from collections import Counter
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


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON object of the folder. Raises WeightsIncomplete when it is missing or no such thing."""
    return _read_object(folder / name)


def stored_bytes(folder: Path, without: frozenset[str] = frozenset()) -> Counter[str]:
    """Bytes of the weights by safetensors' type names such as `BF16`, from the headers alone.

    `without` names tensors to leave out. Files that repeat the weights in Mistral's own layout are left out too, as
    vLLM does. Raises WeightsIncomplete when a file is missing or has no readable header.
    """
    names = _weight_files(folder)
    sizes: Counter[str] = Counter()
    for name in [each for each in names if not each.startswith("consolidated")] or names:
        for tensor, entry in _read_header(folder / name)[0].items():
            if tensor not in without:
                start, end = _offsets(entry)
                sizes[str(entry.get("dtype"))] += max(0, end - start)
    return sizes


def indexed_bytes(folder: Path) -> int | None:
    """The total that `model.safetensors.index.json` states, bytes; None where there is none."""
    try:
        metadata = _read_object(folder / "model.safetensors.index.json").get("metadata")
    except WeightsIncomplete:
        return None
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(total) if isinstance(total, int | float) and 0 < total < 2**60 else None


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
    header, header_bytes, size = _read_header(path)
    wanted = 8 + header_bytes + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if size != wanted:
        raise WeightsIncomplete(f"{path.name} has {size} bytes instead of {wanted}: is it still being written?")


def _read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Each tensor's entry, whose `data_offsets` are two integers; the header's length and the file's, bytes."""
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if not 2 <= header_bytes <= MAX_HEADER_BYTES:
                raise WeightsIncomplete(f"{path.name} is no safetensors file, or is not complete")
            header = json.loads(file.read(header_bytes))
            size = file.seek(0, 2)
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        if not all(isinstance(offset, int) for tensor in tensors.values() for offset in _offsets(tensor)):
            raise ValueError
    except FileNotFoundError:
        raise WeightsIncomplete(f"{path.name} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        if isinstance(error, WeightsIncomplete):
            raise
        raise WeightsIncomplete(f"{path.name} is no safetensors file, or is not complete") from None
    return tensors, header_bytes, size


def _offsets(tensor: dict[str, Any]) -> tuple[Any, Any]:
    return tensor["data_offsets"][0], tensor["data_offsets"][1]


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
