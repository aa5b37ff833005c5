"""What one writes first: a Serve deployment with an AsyncLLM in it. `serve run benchmarks.plain_vllm:app`.

The same engine with the same arguments as the embedded chat model's, from zero replicas, in Serve's own ways.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator

from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

from catalog.project import PROJECT

IDLE_S = 3.0


@serve.deployment(
    ray_actor_options={"num_cpus": 0.5},
    max_ongoing_requests=64,
    autoscaling_config={
        "min_replicas": 0, "initial_replicas": 0, "max_replicas": 1, "upscale_delay_s": 0,
        "downscale_delay_s": IDLE_S, "downscale_to_zero_delay_s": IDLE_S,
    },
)  # fmt: skip
class PlainVLLM:
    """Streams the text of a completion."""

    async def __init__(self) -> None:
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        os.environ["TORCH_COMPILE_DISABLE"] = "1"
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = AsyncEngineArgs(
            model=str(PROJECT / "models" / "demo-chat"), dtype="bfloat16", max_model_len=2048, max_num_seqs=64,
            enforce_eager=True, enable_lora=True, max_loras=5, max_cpu_loras=5, max_lora_rank=8,
        )  # fmt: skip
        self._llm = AsyncLLM.from_engine_args(arguments)

    async def __call__(self, request: Request) -> StreamingResponse:
        body = await request.json()
        return StreamingResponse(self._text(body["messages"], body["max_tokens"]), media_type="text/plain")

    async def _text(self, messages: list[dict], max_tokens: int) -> AsyncIterator[str]:
        from vllm import SamplingParams

        tokenizer = self._llm.get_tokenizer()
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)  # type: ignore
        sent = ""
        async for output in self._llm.generate(prompt, SamplingParams(max_tokens=max_tokens), str(uuid.uuid4())):
            text = output.outputs[0].text
            yield text[len(sent) :]
            sent = text

    def __del__(self) -> None:
        self._llm.shutdown()


app = PlainVLLM.bind()
