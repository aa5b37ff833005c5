from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autoscaling.placement import Placement, place
from catalog.gpus import GPU_TYPES
from catalog.models import VariantSettings


def placed(**fields: Any) -> Placement:
    return place(VariantSettings(**fields))


def test_several_gpus_are_one_bundle_each_on_one_node_and_the_replica_sits_in_the_first() -> None:
    placement = placed(shape="H100:4", num_cpus=8)
    worker = {"GPU": 1.0, "accelerator_type:H100": 0.001}
    assert placement.bundles == ({**worker, "CPU": 8.0}, worker, worker, worker)
    assert (placement.strategy, placement.backend, placement.is_group) == ("STRICT_PACK", "ray", True)
    assert (placement.tensor_parallel_size, placement.pipeline_parallel_size) == (4, 1)
    assert (placement.num_cpus, placement.num_gpus) == (8, 0), "the GPUs are for vLLM's workers"


def test_more_gpus_than_a_node_has_become_pipeline_stages() -> None:
    placement = placed(shape="H100:16")
    assert (placement.strategy, placement.tensor_parallel_size, placement.pipeline_parallel_size) == ("PACK", 8, 2)
    assert placed(shape="L40S:8", gpus_per_node=4).pipeline_parallel_size == 2


def test_one_gpu_or_a_share_of_one_is_the_replicas_own() -> None:
    whole, share = placed(shape="A10G"), placed(shape="A10G", gpu_fraction=0.25)
    assert (whole.num_gpus, whole.accelerator_type, whole.backend, whole.is_group) == (1.0, "A10G", None, False)
    assert share.num_gpus == 0.25
    assert share.bundles == ({"GPU": 0.25, "CPU": 1.0, "accelerator_type:A10G": 0.001},)


def test_ranks_on_the_cpu_share_its_cpus() -> None:
    placement = placed(shape="CPU", num_cpus=1, tensor_parallel_size=2)
    assert placement.bundles == ({"CPU": 0.5}, {"CPU": 0.5})
    assert (placement.num_cpus, placement.backend, placement.tensor_parallel_size) == (0.5, "mp", 2)
    assert not placed(shape="CPU").is_group


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"shape": "H100:2", "gpu_fraction": 0.5}, "only a shape of one GPU"),
        ({"shape": "CPU", "gpu_fraction": 0.5}, "only a shape of one GPU"),
        ({"shape": "H100", "gpu_fraction": 1.0}, "less than 1"),
        ({"shape": "H100:2", "tensor_parallel_size": 2}, "CPU variants only"),
        ({"shape": "CPU", "num_cpus": 0, "tensor_parallel_size": 2}, "above 0"),
        ({"shape": "H100:12"}, "equal pipeline stages"),
        ({"shape": "H100:0"}, "a shape is"),
        ({"shape": "h100"}, "a shape is"),
        ({"shape": "TPU"}, "a shape is"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_the_configuration(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        VariantSettings(**fields)


@given(type=st.sampled_from(GPU_TYPES), per_node=st.integers(1, 16), num_nodes=st.integers(1, 4), cpus=st.floats(0, 64))
def test_every_rank_has_a_gpu_and_every_stage_a_node(type: str, per_node: int, num_nodes: int, cpus: float) -> None:
    count = per_node * num_nodes
    placement = placed(shape=f"{type}:{count}", gpus_per_node=per_node, num_cpus=cpus)
    assert sum(bundle["GPU"] for bundle in placement.bundles) == count
    assert sum(bundle.get("CPU", 0.0) for bundle in placement.bundles) == cpus
    if count > 1:
        assert placement.tensor_parallel_size * placement.pipeline_parallel_size == count
        assert placement.tensor_parallel_size == per_node
