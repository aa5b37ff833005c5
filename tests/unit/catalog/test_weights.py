from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from catalog.project import PROJECT
from catalog.weights import WeightsIncomplete, require_complete


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": np.zeros((4, 4), np.float32), "b": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def index(folder: Path, **files: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))


def test_whole_weights_are_complete(folder: Path) -> None:
    require_complete(folder)
    index(folder, a="model.safetensors", b="model.safetensors")
    require_complete(folder)


@pytest.mark.parametrize("folder", ["models/demo-chat", "models/rl/job_demo/checkpoint-1"])
def test_the_committed_models_are_complete(folder: str) -> None:
    require_complete(PROJECT / folder)
    require_complete(PROJECT / "models/adapters/job_pirate", "adapter_config.json")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_told(folder: Path, share: float) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsIncomplete, match=r"model\.safetensors"):
        require_complete(folder)


def test_a_file_of_the_index_that_is_not_there_yet_is_told(folder: Path) -> None:
    index(folder, a="model.safetensors", b="model-2.safetensors")
    with pytest.raises(WeightsIncomplete, match=r"model-2\.safetensors is missing"):
        require_complete(folder)


def test_an_index_does_not_lead_out_of_the_folder(folder: Path) -> None:
    index(folder, a="../other/model.safetensors")
    with pytest.raises(WeightsIncomplete):
        require_complete(folder)


def test_pickled_weights_are_none(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsIncomplete, match="pickled"):
        require_complete(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": NaN'])
def test_a_configuration_that_is_missing_or_broken_is_told(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(WeightsIncomplete, match=r"config\.json"):
        require_complete(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsIncomplete, match=r"config\.json is missing"):
        require_complete(folder)


@pytest.mark.parametrize("header", [b"[]", b'{"a": 1}', b'{"a": {"data_offsets": []}}', b'{"a": {"data_offsets": 3}}'])
def test_a_header_of_another_form_is_no_safetensors(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsIncomplete, match="no safetensors file"):
        require_complete(folder)


def test_a_header_that_claims_to_be_huge_is_not_read(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsIncomplete):
        require_complete(folder)
