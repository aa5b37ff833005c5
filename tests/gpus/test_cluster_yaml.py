"""`cluster.yaml` by Ray's own validator, and whether what the GPU example asks for finds a place on its nodes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from autoscaling.cluster import Cluster, Footing, Node, NodeType
from autoscaling.placement import place
from catalog.gpus import GPU_TYPES
from catalog.loading import load
from catalog.models import VariantSettings
from catalog.project import PROJECT

EXAMPLE = PROJECT / "examples" / "gpu_cluster.yaml"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "cluster.yaml").read_text())


def cluster(config: dict[str, Any]) -> Cluster:
    head = config["available_node_types"][config["head_node_type"]]["resources"]
    kinds = tuple(
        NodeType(name, kind["resources"], kind["max_workers"]) for name, kind in config["available_node_types"].items()
    )
    return Cluster((Node(head, head),), kinds, config["max_workers"])


def test_rays_own_validator_takes_it(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))


def test_no_gpu_runs_until_it_is_asked_for(config: dict[str, Any]) -> None:
    kinds = config["available_node_types"]
    assert "GPU" not in kinds[config["head_node_type"]]["resources"]
    assert all(kind["min_workers"] == 0 for kind in kinds.values())


def test_each_gpu_node_has_one_known_accelerator_type_and_says_it_in_its_labels(config: dict[str, Any]) -> None:
    for kind in config["available_node_types"].values():
        types = [name.partition(":")[2] for name in kind["resources"] if name.startswith("accelerator_type:")]
        assert len(types) == ("GPU" in kind["resources"])
        assert all(each in GPU_TYPES and kind["labels"]["raymux.gpu"] == each for each in types)


def test_the_dashboard_listens_on_loopback_only(config: dict[str, Any]) -> None:
    starts = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert starts
    assert all("--dashboard-host=127.0.0.1" in command for command in starts)


def variants() -> list[VariantSettings]:
    listed = [variant for model in load(EXAMPLE).catalog.models for variant in model.variants]
    more = [VariantSettings(shape=shape) for shape in ("A10G", "L40S:2", "L40S:4", "A100:8", "H100:8", "H200:8", "CPU")]
    return list({variant.shape: variant for variant in [*more, *listed]}.values())


@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.shape)
def test_a_shape_finds_a_place(config: dict[str, Any], variant: VariantSettings) -> None:
    placement = place(variant)
    footing = cluster(config).footing(placement.bundles, placement.strategy)
    assert footing is (Footing.NOW if variant.shape == "CPU" else Footing.ADDABLE)


def test_more_gpus_than_a_node_has_find_none(config: dict[str, Any]) -> None:
    assert cluster(config).footing(place(VariantSettings(shape="L40S:8")).bundles) is Footing.NEVER
