from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from catalog.project import PROJECT
from deployments.engine.adapter_files import BadAdapter, check_adapter

HIDDEN, KV_WIDTH, MLP = 64, 32, 128
BASE = {
    "hidden_size": HIDDEN, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": MLP,
    "vocab_size": 512,
}  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> str:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BASE))
    return str(folder)


def make_adapter(tmp_path: Path, rank: int = 8, config: Any = None, tensors: dict[str, Any] | None = None) -> str:
    folder = tmp_path / "adapter"
    folder.mkdir(exist_ok=True)
    written = {"peft_type": "LORA", "r": rank, **(config or {})}
    (folder / "adapter_config.json").write_text(json.dumps(written))
    layer = "base_model.model.model.layers.0.self_attn.k_proj"
    shapes = tensors or {f"{layer}.lora_A.weight": (rank, HIDDEN), f"{layer}.lora_B.weight": (KV_WIDTH, rank)}
    save_file(
        {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / "adapter_model.safetensors"
    )
    return str(folder)


def test_a_fitting_adapter_is_accepted(tmp_path: Path, base: str) -> None:
    for rank in (1, 8):
        check_adapter(make_adapter(tmp_path, rank), base, 8)


@pytest.mark.parametrize("rank", [0, -1, 9, 10**9])
def test_a_rank_the_model_does_not_serve_is_refused(tmp_path: Path, base: str, rank: int) -> None:
    with pytest.raises(BadAdapter, match="serves ranks 1 to 8"):
        check_adapter(make_adapter(tmp_path, config={"r": rank}), base, 8)


@pytest.mark.parametrize("rank", ["8", 8.0, None, [8], True])
def test_a_rank_is_an_integer(tmp_path: Path, base: str, rank: Any) -> None:
    with pytest.raises(BadAdapter, match="rank"):
        check_adapter(make_adapter(tmp_path, config={"r": rank}), base, 8)


@pytest.mark.parametrize("peft_type", ["IA3", "lora", None, 5])
def test_only_lora_is_served(tmp_path: Path, base: str, peft_type: Any) -> None:
    with pytest.raises(BadAdapter, match="peft_type"):
        check_adapter(make_adapter(tmp_path, config={"peft_type": peft_type}), base, 8)


@pytest.mark.parametrize("pickled", ["adapter_model.bin", "weights.pt", "x.pkl"])
def test_pickled_weights_are_refused_by_name(tmp_path: Path, base: str, pickled: str) -> None:
    folder = Path(make_adapter(tmp_path))
    (folder / "adapter_model.safetensors").rename(folder / pickled)
    with pytest.raises(BadAdapter, match="pickled weights are not loaded"):
        check_adapter(str(folder), base, 8)


@pytest.mark.parametrize("place", ["nowhere", "base"])
def test_a_folder_without_weights_is_refused(tmp_path: Path, base: str, place: str) -> None:
    with pytest.raises(BadAdapter, match="safetensors is missing"):
        check_adapter(str(tmp_path / place), base, 8)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"LORA"', b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, base: str, content: bytes) -> None:
    folder = make_adapter(tmp_path)
    (Path(folder) / "adapter_config.json").write_bytes(content)
    with pytest.raises(BadAdapter, match=r"adapter_config\.json"):
        check_adapter(folder, base, 8)


@pytest.mark.parametrize("keep", [0, 4, 100])
def test_damaged_weights_are_refused(tmp_path: Path, base: str, keep: int) -> None:
    folder = make_adapter(tmp_path)
    weights = Path(folder) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(BadAdapter, match="damaged or incomplete"):
        check_adapter(folder, base, 8)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"x.weight": (8, HIDDEN)}, "complete lora_A and lora_B pairs"),
        ({"x.lora_A.weight": (8, HIDDEN)}, "complete lora_A and lora_B pairs"),
        ({"x.lora_A.weight": (16, HIDDEN), "x.lora_B.weight": (HIDDEN, 16)}, "does not fit rank 8"),
        ({"x.lora_A.weight": (8, HIDDEN), "x.lora_B.weight": (HIDDEN, 16)}, "does not fit rank 8"),
        ({"x.lora_A.weight": (8,), "x.lora_B.weight": (HIDDEN, 8)}, "does not fit rank 8"),
        ({"x.lora_A.weight": (8, 2, 2), "x.lora_B.weight": (HIDDEN, 8)}, "does not fit rank 8"),
        ({"x.lora_A.weight": (8, HIDDEN + 1), "x.lora_B.weight": (HIDDEN, 8)}, "of another base"),
        ({"x.lora_A.weight": (8, HIDDEN), "x.lora_B.weight": (4096, 8)}, "of another base"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, base: str, tensors: dict, says: str) -> None:
    with pytest.raises(BadAdapter, match=says):
        check_adapter(make_adapter(tmp_path, tensors=tensors), base, 8)


def test_a_base_of_unknown_widths_is_not_compared(tmp_path: Path) -> None:
    check_adapter(make_adapter(tmp_path), str(tmp_path / "no-config"), 8)


@pytest.mark.parametrize("name", ["job_pirate", "job_formal"])
def test_an_adapter_of_this_repository_fits_its_base(name: str) -> None:
    folder = PROJECT / "models" / "adapters" / name
    if not folder.is_dir():
        pytest.skip("not trained in this checkout")
    check_adapter(str(folder), str(PROJECT / "models" / "demo-chat"), 8)
