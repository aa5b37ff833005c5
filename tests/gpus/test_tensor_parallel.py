"""Real vLLM with two ranks, in a placement group of two CPU bundles that Serve reserves for its replica."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

from tests.integration.calls import chat
from tests.server import PROJECT, RunningServer, model_entry, title, user_config, wait_gone

_BUNDLES = """
import json, ray
ray.init(address=ADDRESS, logging_level="ERROR", log_to_driver=False)
groups = ray.util.placement_group_table().values()
print(json.dumps([list(group["bundles"].values()) for group in groups if group["state"] == "CREATED"]))
"""


def only_parallel_chat(document: dict[str, Any]) -> None:
    """The embedded chat model alone, on two ranks."""
    model = model_entry(document, "demo-chat")
    model["variants"] = [{"shape": "CPU", "num_cpus": 1, "tensor_parallel_size": 2}]
    model["lifecycle"] = {"idle_timeout_s": 5}
    manager = user_config(document, "ModelManager")
    manager["models"], manager["checkpoints"] = [model], []
    user_config(document, "Gateway")["defaults"] = {"chat": "demo-chat"}


def bundles(server: RunningServer) -> list[list[dict[str, float]]]:
    """The bundles of each placement group of the server's cluster, as Ray tells them."""
    commands = " ".join(map(title, server.processes(server.pid)))
    address = re.search(r"--gcs-address=(\S+)", commands)
    assert address is not None, "no raylet found"
    script = _BUNDLES.replace("ADDRESS", repr(address[1]))
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "RAY_AUTH_MODE": "token"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout.strip().splitlines()[-1])


def test_two_ranks_answer_from_a_placement_group_and_leave_with_it() -> None:
    with RunningServer(change=only_parallel_chat) as server:
        question = [{"role": "user", "content": "What is 2+2?"}]
        reply = chat(server, "demo-chat", 40, temperature=0, messages=question, timeout=180)
        assert reply.status_code == 200, reply.text
        assert "4" in reply.json()["choices"][0]["message"]["content"]
        assert bundles(server) == [[{"CPU": 0.5}, {"CPU": 0.5}]]
        family = server.replica_processes("demo-chat")
        ranks = [each for each in family if "Worker" in title(each)]
        assert len(ranks) == 2, [title(each) for each in family]
        server.wait_for_state("demo-chat", "cold", 60)
        wait_gone(family, 30)
        assert bundles(server) == []
