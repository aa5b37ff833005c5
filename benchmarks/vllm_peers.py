"""The servers that `python -m benchmarks vllm` compares, all with the engine arguments that raymux gives vLLM."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks.environments import extended
from benchmarks.load import PROMPT
from benchmarks.servers import Server, raymux, running
from catalog.catalog import Catalog
from catalog.loading import load
from catalog.project import PROJECT
from catalog.sources import locate
from deployments.engine.vllm_engine import command_line, engine_arguments
from deployments.environment import serve_environment
from deployments.fine_tuning import packages

CONFIG = PROJECT / "serve_config.yaml"
REFERENCE, DEFAULT = "vllm-uniproc", "vllm"
BACKEND = "distributed_executor_backend"
# Of every server: models are on this machine, nobody phones home, and a cache as large as raymux gives its engine.
COMMON = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "RAY_USAGE_STATS_ENABLED": "0", "VLLM_CPU_KVCACHE_SPACE": "1",
}  # fmt: skip
# As in raymux's replica, where Ray sets the number of threads; the model is too small for two.
AS_IN_REPLICA = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCH_COMPILE_DISABLE": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Work:
    """What is asked for, of which model of the configuration. `words` are the load client's."""

    name: str
    model: str
    path: str
    words: tuple[str, ...]
    fields: Mapping[str, Any]
    # Servers that are up at the same time, in turn; the reference and vLLM's default are in every round.
    rounds: tuple[tuple[str, ...], ...]

    @property
    def probe(self) -> dict[str, Any]:
        """A request that a server answers once it is ready."""
        return {"model": self.model, **self.fields}

    def engine_arguments(self) -> dict[str, Any]:
        """vLLM's, as raymux's replica would use them."""
        target = Catalog(load(CONFIG).catalog).find(self.model)
        assert target is not None
        spec = target.variants[0]
        return engine_arguments(spec, locate(spec.source))


CHAT = Work(
    "chat",
    "demo-chat",
    "/v1/chat/completions",
    ("--any-events", "--tokens", "64"),
    {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1},
    (("raymux", "plain"), ("ray-llm", "ray-llm-tuned", "ray-llm-direct")),
)
EMBEDDINGS = Work(
    "embeddings", "all-minilm-l6-v2", "/v1/embeddings", ("--embed",), {"input": "a"}, (("raymux", "plain"),)
)
WORKS = {work.name: work for work in (CHAT, EMBEDDINGS)}


def server(name: str, work: Work, port: int) -> Callable[[], AbstractContextManager[Server]]:
    """What starts the server of that name."""
    return {
        REFERENCE: lambda: _vllm(REFERENCE, work, port, {**COMMON, **AS_IN_REPLICA}, in_core=True),
        DEFAULT: lambda: _vllm(DEFAULT, work, port, COMMON, in_core=False),
        "raymux": lambda: raymux(port, config=CONFIG, probe=work.probe),
        "plain": lambda: raymux(port, plain=True, config=CONFIG, probe=work.probe),
        "ray-llm": lambda: _ray_llm("ray-llm", work, port, COMMON),
        "ray-llm-tuned": lambda: _ray_llm("ray-llm-tuned", work, port, _tuned(port), "--tuned"),
        "ray-llm-direct": lambda: _ray_llm(
            "ray-llm-direct", work, port, {**_tuned(port), "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1"}, "--tuned"
        ),
    }[name]


def _vllm(
    name: str, work: Work, port: int, environment: Mapping[str, str], *, in_core: bool
) -> AbstractContextManager[Server]:
    """vLLM's own server. Its default on the CPU is a worker process below the engine core."""
    arguments = work.engine_arguments()
    if not in_core:
        del arguments[BACKEND]
    words = command_line({**arguments, "host": "127.0.0.1", "port": port})
    return running(["vllm.entrypoints.openai.api_server", *words], name, port, work.probe, environment=environment)


def _ray_llm(
    name: str, work: Work, port: int, environment: Mapping[str, str], *words: str
) -> AbstractContextManager[Server]:
    # Ray Serve LLM chooses the executor itself, and refuses what belongs to vLLM's server.
    left_out = {BACKEND, "disable_uvicorn_access_log", "disable_fastapi_docs"}
    arguments = {key: value for key, value in work.engine_arguments().items() if key not in left_out}
    # It imports pyarrow, which lies apart from what raymux's own processes see.
    path = os.pathsep.join([str(PROJECT), str(packages.FOLDER)])
    return running(
        ["benchmarks.ray_llm", json.dumps(arguments), "--port", str(port), *words], name, port, work.probe,
        environment={**environment, "PYTHONPATH": path}, python=str(extended("ray_llm")),
    )  # fmt: skip


def _tuned(port: int) -> dict[str, str]:
    """What made Ray Serve LLM faster here: HAProxy and gRPC, no niceness, and the engine as in raymux's replica."""
    fast = serve_environment(fast_path=True)
    # raymux's stand-in for HAProxy knows its own gateway only.
    for name in ("RAY_SERVE_HAPROXY_BINARY_PATH", "RAYMUX_HAPROXY"):
        fast.pop(name)
    # Which has none of these, where Serve's are the same for every server.
    fast |= {"RAY_SERVE_HAPROXY_METRICS_PORT": str(port + 100), "RAY_SERVE_HAPROXY_STATS_PORT": str(port + 200)}
    changed = {name: value for name, value in fast.items() if os.environ.get(name) != value}
    return {**COMMON, **AS_IN_REPLICA, **changed, "RAYLLM_VLLM_ENGINE_CLS": "benchmarks.ray_llm.InCoreEngine"}
