from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.fit_check import require_fit
from catalog.loading import ConfigError
from catalog.settings import CatalogSettings

LARGE = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "num_hidden_layers": 80, "vocab_size": 128256,
    "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8, "hidden_act": "silu",
}  # fmt: skip


def settings(source: str, shapes: tuple[str, ...] = ("H100:4", "H100"), **more: Any) -> CatalogSettings:
    model = {"name": "m", "source": source, "variants": [{"shape": shape} for shape in shapes], **more}
    return CatalogSettings.model_validate({"models": [model]})


def test_the_variant_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LARGE))
    with pytest.raises(ConfigError, match=r"^x\.models\.0\.variants\.1: .* GiB short; H100:2 would do$"):
        require_fit(settings(str(tmp_path)), "x")


def test_what_is_not_on_this_machine_is_told_and_not_refused() -> None:
    assert require_fit(settings("acme/large"), "x") == ["m"]
    assert require_fit(settings("s3://acme/large"), "x") == ["m"]
    assert require_fit(settings("acme/large", engine={"kind": "emulated"}), "x") == []
