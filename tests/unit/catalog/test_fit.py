from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from catalog.architecture import Architecture
from catalog.catalog import Catalog, VariantSpec
from catalog.fit import GIB, Checkpoint, gpu_needs, gpu_room, problem
from catalog.gpus import GPU_MEMORY_GIB, GPU_TYPES
from catalog.project import PROJECT
from catalog.settings import CatalogSettings

LLAMA_70B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "vocab_size": 128256,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 131072,
}


def spec(shape: str, model: dict[str, Any] | None = None, **engine: Any) -> VariantSpec:
    fields = {"name": "m", "source": "x", "variants": [{"shape": shape}], "engine": engine, **(model or {})}
    return next(Catalog(CatalogSettings.model_validate({"models": [fields]})).targets()).variants[0]


def found(shape: str, config: dict[str, Any] = LLAMA_70B, model: dict[str, Any] | None = None, **engine: Any):
    return problem(Checkpoint(config, None), spec(shape, model, **{"max_model_len": 32768, **engine}))


def test_every_type_has_its_memory() -> None:
    assert set(GPU_MEMORY_GIB) == set(GPU_TYPES)


def test_parameters_of_llama_70b_are_counted_but_for_its_norms() -> None:
    assert Architecture.parse(LLAMA_70B).num_weights == pytest.approx(70_553_706_496, rel=1e-4)


def test_a_token_of_llama_70b_takes_320_kib() -> None:
    assert Architecture.parse(LLAMA_70B).kv_bytes(1, 1, 2.0) == 320 * 1024


def test_a_variant_that_is_too_small_is_told_by_how_much_and_what_would_do() -> None:
    assert found("H100") == (
        "the model needs at least 141.9 GiB (weights 131.4, KV cache of 32768 tokens 10.0, engine 0.5) and H100 has"
        " 72.9: 69.1 GiB short; H100:2 would do"
    )


@pytest.mark.parametrize("shape", ["H100:2", "H100:4", "A100:2", "L40S:4", "B200"])
def test_a_variant_that_holds_it_passes(shape: str) -> None:
    assert found(shape) is None


def test_heads_that_do_not_divide_are_refused() -> None:
    assert found("H100:3") == "its 64 attention heads cannot be split over 3 GPUs; H100:2 would do"


@pytest.mark.parametrize(
    ("engine", "fits"),
    [
        ({"args": {"quantization": "fp8"}}, False),
        ({"args": {"quantization": "fp8", "kv_cache_dtype": "fp8"}, "max_model_len": 8192}, True),
        ({"args": {"cpu_offload_gb": 75}}, True),
        ({"args": {"hf_overrides": {"num_hidden_layers": 8}}}, True),
        ({"args": {"cpu_offload_gb": "many"}}, False),
    ],
)
def test_engine_arguments_that_change_the_sum_count(engine: dict[str, Any], fits: bool) -> None:
    assert (found("H100", **engine) is None) is fits


def test_a_fraction_has_its_share_of_the_memory() -> None:
    whole, half = spec("L4"), spec("L4", {"variants": [{"shape": "L4", "gpu_fraction": 0.5}]})
    assert gpu_room(whole.settings, whole) == int(22.2 * GIB * 0.92)
    assert gpu_room(half.settings, half) == int(22.2 * GIB * 0.45)


def test_the_cpu_must_hold_one_sequence() -> None:
    assert "9.0 GiB short; set it to 10" in (found("CPU") or "")
    assert found("CPU", cpu_kv_cache_gib=10) is None


def test_an_encoder_needs_no_kv_cache_and_a_decoder_does() -> None:
    embeds = {"tasks": ["embed"]}
    assert found("CPU", model=embeds) is not None
    assert found("CPU", {**LLAMA_70B, "architectures": ["BertModel"]}, model=embeds) is None


def test_an_emulated_engine_is_never_checked() -> None:
    assert found("T4", kind="emulated") is None


def test_a_sliding_window_and_shared_layers_bound_what_a_sequence_takes() -> None:
    window = {**LLAMA_70B, "sliding_window": 4096}
    assert Architecture.parse(window).kv_bytes(32768, 1, 2.0) == 4096 * 320 * 1024
    assert Architecture.parse({**window, "use_sliding_window": False}).kv_bytes(32768, 1, 2.0) == 10 * GIB
    mixed = {**window, "layer_types": ["full_attention", "sliding_attention", "linear_attention", "mamba"] * 20}
    assert Architecture.parse(mixed).kv_bytes(32768, 1, 2.0) == 20 * (32768 + 4096) * 4096


def test_a_latent_vector_is_whole_on_each_rank() -> None:
    mla = Architecture.parse({**LLAMA_70B, "kv_lora_rank": 512, "qk_rope_head_dim": 64})
    assert mla.kv_bytes(1, 8, 2.0) == mla.kv_bytes(1, 1, 2.0) == 80 * 576 * 2


def test_adapter_slots_take_memory() -> None:
    pool = {"adapters": {"max_adapters_per_replica": 3, "max_rank": 16}}
    needs = [
        gpu_needs(Checkpoint(LLAMA_70B, None), Architecture.parse(LLAMA_70B), spec("H100", each), 1)
        for each in (pool, {})
    ]
    assert needs[0].adapters == 4 * Architecture.parse(LLAMA_70B).adapter_bytes(16, 1, 2)
    assert needs[1].adapters == 0


@given(num_gpus=st.sampled_from([1, 2, 4, 8]), tokens=st.integers(16, 10**6))
def test_more_gpus_never_need_more_of_each(num_gpus: int, tokens: int) -> None:
    checkpoint, architecture, wanted = (
        Checkpoint(LLAMA_70B, None),
        Architecture.parse(LLAMA_70B),
        spec("H100", max_model_len=tokens),
    )
    assert (
        gpu_needs(checkpoint, architecture, wanted, 2 * num_gpus).total
        <= gpu_needs(checkpoint, architecture, wanted, num_gpus).total
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    config=st.dictionaries(
        st.sampled_from([*LLAMA_70B, "layer_types", "quantization_config", "text_config", "dtype"]), json_values
    )
)
def test_whatever_a_configuration_holds_it_is_read(config: dict[str, Any]) -> None:
    for shape in ("CPU", "T4"):
        problem(Checkpoint(config, None), spec(shape))


def test_weights_on_disk_count_as_the_engine_loads_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": True}))
    tensors = {"a": np.zeros((1024, 1024), np.float32), "lm_head.weight": np.zeros(9, np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = Checkpoint.read(tmp_path)
    assert checkpoint.stored == {"F32": 4 * 2**20}
    for dtype, size in (("auto", 2), ("float32", 4)):
        needs = gpu_needs(checkpoint, Architecture.parse(checkpoint.config), spec("T4", dtype=dtype), 1)
        assert needs.weights == size * 2**20


def test_the_index_tells_where_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = {"metadata": {"total_size": 3 * GIB}, "weight_map": {"a": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert Checkpoint.read(tmp_path).stored == {"BF16": 3 * GIB}


def test_the_demo_model_on_disk_agrees_with_its_configuration() -> None:
    checkpoint = Checkpoint.read(PROJECT / "models" / "demo-chat")
    assert checkpoint.stored is not None
    num_weights = Architecture.parse(checkpoint.config).num_weights
    assert sum(checkpoint.stored.values()) == pytest.approx(2 * num_weights, rel=0.01)
