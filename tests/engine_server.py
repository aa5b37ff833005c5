"""The server that tests/engine and tests/conformance share: the embedded default on real vLLM, and some odd entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.server import RunningServer, free_port, model_entry, user_config

CHAT = "demo-chat"
PIRATE = "peft:demo-chat:job_pirate"
FORMAL = "peft:demo-chat:job_formal"
CHECKPOINT = "rl:demo-chat:job_demo:checkpoint-1"
LATEST_CHECKPOINT = "rl:demo-chat:job_demo"
EMBEDDER = "all-minilm-l6-v2"
EMBEDDER_ALIAS = "sentence-transformers/all-MiniLM-L6-v2"

# Leaves when idle for BRIEF_IDLE_S; the others stay for the whole session.
BRIEF = "brief-chat"
BRIEF_IDLE_S = 6
# Its folder is there when the configuration is checked, and gone when the model starts.
VANISHED = "vanished-model"

OTHER_BASE = "peft:demo-chat:job_other_base"
TOO_HIGH_RANK = "peft:demo-chat:job_too_high_rank"
PICKLED = "peft:demo-chat:job_pickled"
TRUNCATED = "peft:demo-chat:job_truncated"
BAD_ADAPTERS = (OTHER_BASE, TOO_HIGH_RANK, PICKLED, TRUNCATED)

# What docs/webhooks.md signs its event with.
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

# A web server of tests, from which adapters may be registered.
ARCHIVES_PORT = free_port()

WARM_TIMEOUT_S = 180


def engine_server(folder: Path) -> RunningServer:
    """The server, not yet started; `folder` takes the odd models' files."""
    adapters = write_bad_adapters(folder)
    vanished = folder / "vanished"
    vanished.mkdir()
    (vanished / "config.json").write_text("{}", encoding="utf-8")

    def change(document: dict[str, Any]) -> None:
        catalog = user_config(document, "ModelManager")
        for name in (CHAT, EMBEDDER):
            model_entry(document, name)["lifecycle"] = {"idle_timeout_s": 86_400}
        brief = {**model_entry(document, CHAT), "name": BRIEF, "lifecycle": {"idle_timeout_s": BRIEF_IDLE_S}}
        broken = {**brief, "name": VANISHED, "source": str(vanished), "lifecycle": {"retry_backoff_s": 1}}
        catalog["models"] += [{name: value for name, value in m.items() if name != "adapters"} for m in (brief, broken)]
        catalog["adapters"] += [{"name": name, "source": str(path)} for name, path in adapters.items()]
        catalog["runtime_sources"] = [*catalog["runtime_sources"], f"http://127.0.0.1:{ARCHIVES_PORT}/served/"]
        catalog["source_cache"] = {"folder": str(folder / "sources")}
        user_config(document, "Gateway")["comment_interval_s"] = 1

    return RunningServer(change=change, environment={"RAYMUX_WEBHOOK_SECRETS": WEBHOOK_SECRET})


def remove_vanished(folder: Path) -> None:
    """Take the model's folder away, after the configuration has been checked."""
    vanished = folder / "vanished"
    for file in vanished.iterdir():
        file.unlink()
    vanished.rmdir()


def warm_up(server: RunningServer) -> None:
    """Start the chat model and the embedder side by side, and wait for both."""
    with server.client() as client:
        for model in (CHAT, EMBEDDER):
            client.post(f"/v1/models/{model}/start").raise_for_status()
    for model in (CHAT, EMBEDDER):
        server.wait_for_state(model, "ready", WARM_TIMEOUT_S)


def write_bad_adapters(folder: Path) -> dict[str, Path]:
    """Adapters that must not reach an engine, by name."""
    paths = {name: folder / name.rpartition(":")[2] for name in BAD_ADAPTERS}
    for name, path in paths.items():
        path.mkdir()
        rank = 64 if name == TOO_HIGH_RANK else 8
        # A width that no layer of demo-chat has.
        width = 96 if name == OTHER_BASE else 256
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}
        (path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        prefix = "base_model.model.model.layers.0.self_attn.q_proj"
        save_file(
            {
                f"{prefix}.lora_A.weight": np.zeros((rank, width), np.float32),
                f"{prefix}.lora_B.weight": np.zeros((width, rank), np.float32),
            },
            path / "adapter_model.safetensors",
        )
    (paths[PICKLED] / "adapter_model.safetensors").rename(paths[PICKLED] / "adapter_model.bin")
    weights = paths[TRUNCATED] / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return paths
