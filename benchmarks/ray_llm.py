"""`python -m benchmarks.ray_llm ARGUMENTS --port N`: Ray Serve LLM with one model, until SIGTERM or SIGINT.

ARGUMENTS are vLLM's, as JSON. Runs in the environment that `locks/ray_llm.txt` extends; what Ray reads from its
process's environment is up to the caller. Written for Ray 2.60.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.config import HTTPOptions
from ray.serve.llm import LLMConfig, build_openai_app
from ray.serve.schema import LoggingConfig

# More than the machine has, so that Ray places whatever Serve asks for.
NUM_CPUS = 16


class InCoreEngine(VLLMEngine):
    """Its engine with the model in the engine core's process; Ray Serve LLM itself allows only `mp` on the CPU.

    RAYLLM_VLLM_ENGINE_CLS names it.
    """

    def _start_async_llm_engine(self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any) -> Any:
        from vllm.v1.executor.uniproc_executor import UniProcExecutor

        vllm_engine_config.parallel_config.distributed_executor_backend = UniProcExecutor
        return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)


def main(arguments: list[str]) -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_llm", description="Ray Serve LLM with one model.")
    parser.add_argument("arguments", type=json.loads, help="of the engine, by vLLM's names, as JSON")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tuned", action="store_true", help="no access log, no metrics of the engine")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(options.arguments, options.port, tuned=options.tuned)
        signal.pause()
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        serve.shutdown()
        ray.shutdown()
    return 0


def _run(arguments: dict[str, Any], port: int, *, tuned: bool) -> None:
    source, (name, *_) = arguments.pop("model"), arguments.pop("served_model_name")
    config = LLMConfig(
        model_loading_config={"model_id": name, "model_source": source},
        accelerator_config={"kind": "cpu"},  # pyright: ignore[reportArgumentType]
        engine_kwargs=arguments,
        deployment_config={"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
        log_engine_metrics=not tuned,
    )
    logging = LoggingConfig(enable_access_log=not tuned)
    ray.init(num_cpus=NUM_CPUS, include_dashboard=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port), logging_config=logging)
    serve.run(build_openai_app({"llm_configs": [config]}), logging_config=logging)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
