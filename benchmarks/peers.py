"""Other gateways in front of the emulated engine, each installed into an environment of its own.

They are set up as their documentation says for one backend, without logging of requests and without retries.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import isolated
from benchmarks.servers import PROBE, Server, bare, running

# With more, one request takes longer than a measurement.
LITELLM_MAX_STREAMS = 64


@contextmanager
def vllm_router(port: int) -> Iterator[Server]:
    """vLLM's router, written in Rust. Uses the port after it too."""
    python = str(isolated("vllm_router"))
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder, bare(port + 1) as engine:
        arguments = [
            "vllm_router.launch_router", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", engine.base_url,
            "--policy", "round_robin", "--disable-retries", "--log-level", "error", "--log-dir", folder,
            "--prometheus-port", str(port + 2),
        ]  # fmt: skip
        with running(arguments, "vllm-router", port, python=python) as server:
            yield replace(server, behind=(engine.pid,))


@contextmanager
def litellm(port: int) -> Iterator[Server]:
    """LiteLLM's proxy. Uses the port after it too."""
    python = str(isolated("litellm"))
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder, bare(port + 1) as engine:
        config = Path(folder) / "litellm.yaml"
        config.write_text(yaml.safe_dump(_litellm_config(engine)), encoding="utf-8")
        arguments = ["litellm.proxy.proxy_cli", "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        environment = {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with running(arguments, "litellm", port, environment=environment, python=python) as server:
            # It sends an event of its own before the first token.
            words = ("--any-events",)
            yield replace(server, behind=(engine.pid,), client_words=words, max_streams=LITELLM_MAX_STREAMS)


def _litellm_config(engine: Server) -> dict[str, Any]:
    model = PROBE["model"]
    backend = {"model": f"openai/{model}", "api_base": f"{engine.base_url}/v1", "api_key": "none"}
    return {
        "model_list": [{"model_name": model, "litellm_params": backend}],
        "litellm_settings": {"drop_params": True, "num_retries": 0, "telemetry": False},
    }


# Measured with fewer numbers of streams, because a request takes many times as long.
SLOW_PEERS = ("litellm",)
PEERS: dict[str, Callable[[int], AbstractContextManager[Server]]] = {"vllm-router": vllm_router, "litellm": litellm}
