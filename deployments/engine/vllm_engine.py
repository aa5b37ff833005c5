"""vLLM as an engine: its AsyncLLM and its own OpenAI server, built in this process.

Written for vLLM 0.32. Imports of vLLM are inside functions: it takes seconds to import, and only replicas need it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

import httpx
from starlette.types import ASGIApp

from autoscaling.placement import place
from catalog.catalog import VariantSpec
from catalog.gpus import MEMORY_OF_SHARE_RATIO
from catalog.models import Task
from catalog.remote import is_remote
from catalog.replicas import StartStep
from catalog.sources import is_local
from deployments.engine import fork_server
from deployments.engine.base import EngineLoad, current_tokens
from deployments.engine.mend import MendedApp
from deployments.sources.bring import Sources

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

logger = logging.getLogger("ray.serve")

# The linear layers of a transformer block, which are what adapters are made of.
CPU_ADAPTER_MODULES = (
    "q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj",
    "fc1", "fc2", "dense", "query_key_value", "dense_h_to_4h", "dense_4h_to_h",
)  # fmt: skip

# vLLM takes "uni" for "mp" on the CPU, lest threads begin with the wrong settings; here Ray has set OMP_NUM_THREADS
# before. Two processes would wait for each other's messages in busy loops, and take the cores from whoever has work.
IN_CORE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


class VLLMEngine:
    """vLLM with the arguments of one variant."""

    def __init__(self, spec: VariantSpec) -> None:
        self._spec = spec
        self._sources = Sources(spec.source_cache)
        self._app: ASGIApp | None = None
        self._llm: AsyncLLM | None = None
        self._models: Any = None
        self._gauge = LoadGauge()

    async def start(self, on_step: Callable[[StartStep], None]) -> None:
        if is_remote(self._spec.source):
            on_step(StartStep.FETCHING)
        # Held until this process ends.
        self._weights = await self._sources.bring(self._spec.source)
        location = self._weights.location
        on_step(StartStep.IMPORTING)
        _set_environment(self._spec, local=is_local(location))
        if self._spec.settings.shape == "CPU":
            # On GPUs it waits for a machine that proves it.
            await asyncio.to_thread(fork_server.start)
        await asyncio.to_thread(importlib.import_module, "vllm.v1.engine.async_llm")
        await asyncio.to_thread(importlib.import_module, "vllm.entrypoints.openai.api_server")
        if self._spec.settings.shape == "CPU":
            fork_server.heed_environment()
        if self._spec.settings.sleep_group is not None:
            _require_sleep_mode()
        on_step(StartStep.LOADING)
        args = await asyncio.to_thread(parse_arguments, engine_arguments(self._spec, location))
        self._llm = await asyncio.to_thread(_build_llm, args, self._gauge)
        cache = self._llm.vllm_config.cache_config
        self._gauge.kv_capacity_tokens = (cache.num_gpu_blocks or 0) * cache.block_size
        self._app = MendedApp(await self._build_app(args))
        on_step(StartStep.WARMING_UP)
        await self._warm_up()

    @property
    def app(self) -> ASGIApp:
        assert self._app is not None, "the engine has not started"
        return self._app

    async def _build_app(self, args: Namespace) -> ASGIApp:
        from vllm.entrypoints.openai.api_server import build_app, init_app_state

        assert self._llm is not None
        tasks = await self._llm.get_supported_tasks()
        app = build_app(args, tasks, self._llm.model_config)
        await init_app_state(self._llm, app.state, args, tasks)
        self._models = app.state.openai_serving_models
        return app

    async def _warm_up(self) -> None:
        """Send one small request through the whole server, so that the first real one finds everything in place."""
        name = self._spec.served_names[0]
        if Task.GENERATE in self._spec.tasks:
            path, body = "/v1/completions", {"model": name, "prompt": "a", "max_tokens": 2}
        elif Task.EMBED in self._spec.tasks:
            path, body = "/v1/embeddings", {"model": name, "input": "a"}
        else:
            path, body = "/v1/score", {"model": name, "text_1": "a", "text_2": "b"}
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=300) as client:
            reply = await client.post(path, json=body)
        if reply.status_code != 200:
            raise RuntimeError(f"the warm-up request got {reply.status_code}: {reply.text[:300]}")

    async def load_adapter(self, names: tuple[str, ...], path: str) -> None:
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

        loaded = await self._models.load_lora_adapter(LoadLoRAAdapterRequest(lora_name=names[0], lora_path=path))
        if isinstance(loaded, ErrorResponse):
            raise ValueError(loaded.error.message[:500])
        for alias in names[1:]:
            self._models.lora_requests[alias] = self._models.lora_requests[names[0]]

    async def unload_adapter(self, names: tuple[str, ...]) -> None:
        assert self._llm is not None
        request = self._models.lora_requests[names[0]]
        for name in names:
            # A newer checkpoint of the same job may have taken the short name over.
            if self._models.lora_requests.get(name) is request:
                del self._models.lora_requests[name]
        await self._llm.remove_lora(request.lora_int_id)

    async def sleep(self) -> None:
        assert self._llm is not None
        await self._llm.sleep(level=1)

    async def wake(self) -> None:
        assert self._llm is not None
        await self._llm.wake_up()

    def load(self) -> EngineLoad:
        return self._gauge.load

    def is_alive(self) -> bool:
        return self._llm is not None and not self._llm.errored

    async def stop(self) -> None:
        if self._llm is not None:
            await asyncio.to_thread(self._llm.shutdown)


class LoadGauge:
    """Keeps the last load that vLLM's scheduler reported."""

    def __init__(self) -> None:
        self.load = EngineLoad()
        self.kv_capacity_tokens = 0

    def record(self, scheduler_stats: Any) -> None:
        """Take over a `SchedulerStats`; None means nothing new."""
        if scheduler_stats is not None:
            self.load = EngineLoad(
                scheduler_stats.num_running_reqs,
                scheduler_stats.num_waiting_reqs,
                scheduler_stats.kv_cache_usage,
                self.kv_capacity_tokens,
            )


def engine_arguments(spec: VariantSpec, location: str) -> dict[str, Any]:
    """vLLM's arguments for a variant, by their names on its command line with underscores."""
    engine, placement = spec.engine, place(spec.settings)
    arguments: dict[str, Any] = {
        "model": location,
        "served_model_name": list(spec.served_names),
        "dtype": engine.dtype,
        "tensor_parallel_size": placement.tensor_parallel_size,
        "pipeline_parallel_size": placement.pipeline_parallel_size,
        "disable_uvicorn_access_log": True,
        "disable_fastapi_docs": True,
        **engine.args,
    }
    if placement.backend is not None:
        # Ray's executor places one worker on each GPU of the placement group that this replica runs in.
        arguments["distributed_executor_backend"] = placement.backend
    elif spec.settings.shape == "CPU":
        arguments["distributed_executor_backend"] = IN_CORE_PROCESS
    if engine.max_model_len is not None:
        arguments["max_model_len"] = engine.max_model_len
    if engine.max_num_seqs is not None:
        arguments["max_num_seqs"] = engine.max_num_seqs
    if engine.enforce_eager:
        arguments["enforce_eager"] = True
    if engine.gpu_memory_utilization is not None:
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    elif spec.settings.gpu_fraction is not None:
        arguments["gpu_memory_utilization"] = round(spec.settings.gpu_fraction * MEMORY_OF_SHARE_RATIO, 3)
    if spec.settings.sleep_group is not None:
        arguments["enable_sleep_mode"] = True
    if Task.GENERATE not in spec.tasks:
        arguments["runner"] = "pooling"
    if spec.adapters is not None:
        # One slot more than adapters: vLLM 0.32 on the CPU reads the "no adapter" slot as the last one, so a base
        # request batched with an adapter's would get that adapter. An empty last slot makes it the base model.
        slots = spec.adapters.max_adapters_per_replica + 1
        arguments |= {
            "enable_lora": True,
            "max_loras": slots,
            "max_cpu_loras": slots,
            "max_lora_rank": spec.adapters.max_rank,
        }
        if spec.settings.shape == "CPU":
            # Without lm_head: on the CPU, vLLM 0.32 computes an adapter's logits for one token a request, so a request
            # for its prompt's logprobs beside any other one kills the engine.
            arguments.setdefault("lora_target_modules", CPU_ADAPTER_MODULES)
    return arguments


def _require_sleep_mode() -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_sleep_mode_available():
        raise RuntimeError("sleep_group needs vLLM's sleep mode, which its build for this machine does not have")


def parse_arguments(arguments: dict[str, Any]) -> Namespace:
    """Let vLLM's own parser check the arguments. Raises ValueError with its message."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser(exit_on_error=False))
    try:
        args = parser.parse_args(command_line(arguments))
        assert args is not None
        validate_parsed_serve_args(args)
    except SystemExit:
        raise ValueError(f"vLLM does not accept the engine arguments {sorted(arguments)}") from None
    return args


def command_line(arguments: dict[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line takes them."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is False:
            words.append(flag.replace("--", "--no-", 1))
        elif isinstance(value, list | tuple):
            words += [flag, *map(str, value)]
        elif isinstance(value, dict):
            import json

            words += [flag, json.dumps(value)]
        else:
            words += [flag, str(value)]
    return words


def _set_environment(spec: VariantSpec, *, local: bool) -> None:
    """What vLLM reads from the environment; its child processes inherit it."""
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if local:
        os.environ["HF_HUB_OFFLINE"] = "1"
    if spec.settings.shape == "CPU":
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(spec.engine.cpu_kv_cache_gib)
        # Several engines share the machine: pinned threads would pile up on the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        if spec.engine.enforce_eager:
            # vLLM 0.32 compiles its sampler all the same, at the first request for logprobs: everybody waits for it.
            os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")


def _build_llm(args: Namespace, gauge: LoadGauge) -> AsyncLLM:
    """An AsyncLLM that counts tokens per request and reports its scheduler's load."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.metrics.loggers import StatLoggerBase

    class GaugeLogger(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

        def record(
            self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
        ) -> None:
            gauge.record(scheduler_stats)

        def log_engine_initialized(self) -> None: ...

    class CountingLLM(AsyncLLM):
        """Counts the tokens of each request for the door."""

        async def generate(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            count = current_tokens.get()
            is_first = True
            async for output in super().generate(*args, **kwargs):
                if count is not None:
                    if is_first:
                        count.prompt_tokens += len(output.prompt_token_ids or ())
                        count.cached_tokens = (count.cached_tokens or 0) + (output.num_cached_tokens or 0)
                        is_first = False
                    for completion in output.outputs:
                        count.completion_tokens += len(completion.token_ids)
                yield output

        async def encode(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            count = current_tokens.get()
            async for output in super().encode(*args, **kwargs):
                if count is not None and output.finished:
                    count.prompt_tokens += len(output.prompt_token_ids or ())
                yield output

    engine_args = AsyncEngineArgs.from_cli_args(args)
    config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    return CountingLLM.from_vllm_config(
        vllm_config=config, usage_context=UsageContext.OPENAI_API_SERVER, stat_loggers=[GaugeLogger]
    )
