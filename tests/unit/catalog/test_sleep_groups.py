from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from catalog.models import VariantSettings
from tests.unit.builders import catalog_settings


def model(name: str, shape: str) -> dict[str, Any]:
    return {"name": name, "source": "models/x", "variants": [{"shape": shape, "sleep_group": "pair"}]}


def test_the_variants_of_a_group_have_one_shape() -> None:
    catalog_settings(models=[model("a", "A10G"), model("b", "A10G")], adapters=[], checkpoints=[])
    with pytest.raises(ValidationError, match=r"models\.1\.variants\.0\.sleep_group: .*one shape; here it is L40S"):
        catalog_settings(models=[model("a", "A10G"), model("b", "L40S")], adapters=[], checkpoints=[])


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": "CPU"},
        {"shape": "A10G", "gpu_fraction": 0.5},
        {"shape": "A10G", "max_replicas": 2},
        {"shape": "H100:16"},
        {"shape": "A10G", "sleep_group": "No Name"},
        {"shape": "A10G", "max_awake_s": 0},
    ],
)
def test_a_group_shares_whole_gpus_of_one_node_among_single_engines(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VariantSettings.model_validate({"sleep_group": "pair", **fields})
