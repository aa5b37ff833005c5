"""What vLLM is told to do for a variant."""

from __future__ import annotations

from dataclasses import replace

from catalog.catalog import VariantSpec
from deployments.engine.vllm_engine import IN_CORE_PROCESS, engine_arguments
from tests.unit.builders import variant


def backend(spec: VariantSpec) -> str | None:
    return engine_arguments(spec, "models/chat").get("distributed_executor_backend")


def test_a_single_rank_on_the_cpu_runs_in_the_core_s_process() -> None:
    assert backend(variant()) == IN_CORE_PROCESS


def test_several_ranks_on_the_cpu_are_processes() -> None:
    spec = variant()
    assert backend(replace(spec, settings=spec.settings.model_copy(update={"tensor_parallel_size": 2}))) == "mp"


def test_on_a_gpu_vllm_chooses() -> None:
    spec = variant()
    assert backend(replace(spec, settings=spec.settings.model_copy(update={"shape": "A10G"}))) is None
