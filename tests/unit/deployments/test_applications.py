from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from catalog.models import EngineSettings, VariantSettings
from deployments.applications import engine_application
from deployments.preload.keeper import py_executable
from tests.unit.builders import variant

pytestmark = pytest.mark.filterwarnings("ignore:.*metrics_interval_s:DeprecationWarning")


def deployment(shape: str, **settings: Any) -> Any:
    spec = replace(variant(), settings=VariantSettings(shape=shape, **settings))
    return engine_application(spec)._bound_deployment


def test_a_cpu_variant_asks_for_no_gpu() -> None:
    assert deployment("CPU", num_cpus=0.5).ray_actor_options == {"num_cpus": 0.5}


def test_only_a_cpu_variant_on_vllm_begins_in_the_pool() -> None:
    def runtime_env(shape: str, kind: Literal["vllm", "emulated"], *, is_preloaded: bool = True) -> Any:
        spec = replace(variant(), settings=VariantSettings(shape=shape), engine=EngineSettings(kind=kind))
        bound: Any = engine_application(spec, is_preloaded=is_preloaded)._bound_deployment
        return bound.ray_actor_options.get("runtime_env")

    assert runtime_env("CPU", "vllm") == {"py_executable": py_executable()}
    assert runtime_env("CPU", "emulated") is None
    assert runtime_env("H100", "vllm") is None
    assert runtime_env("CPU", "vllm", is_preloaded=False) is None


def test_one_gpu_is_asked_for_by_its_type() -> None:
    options = deployment("A10G").ray_actor_options
    assert options["num_gpus"] == 1
    assert options["accelerator_type"] == "A10G"


def test_several_gpus_are_packed_on_one_node_one_bundle_each() -> None:
    replica = deployment("H100:4")._replica_config
    assert replica.placement_group_strategy == "STRICT_PACK"
    gpus = [bundle for bundle in replica.placement_group_bundles if bundle.get("GPU")]
    assert len(gpus) == 4
    assert all(bundle["accelerator_type:H100"] > 0 for bundle in gpus)


def test_serve_scales_a_variant_from_zero_to_its_most_replicas() -> None:
    scaling = deployment("CPU", max_replicas=3)._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (0, 3)
