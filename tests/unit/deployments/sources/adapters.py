"""A small adapter, and archives of it."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

FILES: dict[str, bytes] = {
    "adapter_config.json": json.dumps({"peft_type": "LORA", "r": 4}).encode(),
    "adapter_model.safetensors": save({"x.lora_A.weight": np.zeros((4, 8), np.float32)}),
}


def write(folder: Path, files: Mapping[str, bytes] = FILES) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tar(files: Mapping[str, bytes] = FILES, mode: str = "w:gz", *further: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in further:
            archive.addfile(info)
    return packed.getvalue()


def zipped(files: Mapping[str, bytes] = FILES, *further: zipfile.ZipInfo) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for info in further:
            archive.writestr(info, "/etc/passwd")
    return packed.getvalue()
