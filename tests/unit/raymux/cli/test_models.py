from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raymux.cli.errors import ExitCode
from raymux.client import bodies
from tests.unit.raymux.cli.conftest import FakeServer, Ran, error

Cli = Callable[..., Ran]

BASE = {
    "id": "org/base", "object": "model", "kind": "base", "parent": None, "aliases": ["alias"], "tasks": ["generate"],
    "state": "cold", "ready": False, "endpoint": "/v1/chat/completions", "gpu_variants": ["L4", "A10G"],
    "owned_by": "raymux",
}  # fmt: skip
LONG_NAME = "peft:org/base:" + "a-very-long-job-name-" * 6 + "end"


def test_a_list_is_a_table_with_nothing_cut_off_or_json_as_the_server_has_it(cli: Cli, server: FakeServer) -> None:
    listed = {"object": "list", "data": [BASE, {**BASE, "id": LONG_NAME, "kind": "adapter", "parent": "org/base"}]}
    server.on("GET /v1/models", listed)
    lines = cli("models", "list").out.splitlines()
    assert lines[0].split() == ["MODEL", "KIND", "STATE", "TASKS", "GPUS", "ALIASES"]
    assert lines[2].startswith(f"{LONG_NAME}  ")
    assert len(lines) == 3
    assert json.loads(cli("models", "list", "--output", "json").out) == listed


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/embeddings", "/v1/rerank"])
def test_get_says_where_and_how_a_model_is_called(cli: Cli, server: FakeServer, endpoint: str) -> None:
    server.on("GET /v1/models/org/base", {**BASE, "endpoint": endpoint})
    out = cli("models", "get", "org/base", "--url", "host:1/v1", "--api-key", "rmx-secret-key").out
    assert f"curl http://host:1{endpoint}" in out
    assert "$RAYMUX_API_KEY" in out
    assert "rmx-secret-key" not in out


def test_orders_go_to_names_with_slashes_and_colons(cli: Cli, server: FakeServer) -> None:
    name = "rl:org/base:job:1"
    for path in ("models/{}/promote", "models/{}/start", "models/{}/stop", "models/{}/stop?drain=true"):
        server.on(f"POST /v1/{path.format(name)}", {"id": name, "accepted": "x"})
    for verb in ("start", "stop"):
        server.on(f"POST /api/services/{name}/{verb}", {"id": name, "accepted": verb})
    words = [["models", "promote"], ["models", "start"], ["models", "stop"], ["models", "stop", "--drain"],
             ["service", "start"], ["service", "stop"]]  # fmt: skip
    for each in words:
        ran = cli(*each, name)
        assert (ran.status, ran.out.startswith(f"{name} is ")) == (0, True)


def test_a_model_is_added_by_options_or_a_file(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    server.on("POST /v1/models", {**BASE, "id": "m"})
    assert cli("models", "add", "peft:m:job", "--source", "models/job").status == 0
    file = tmp_path / "entry.yaml"
    file.write_text("name: m\nsource: s\nvariants: [{shape: L4}]\n")
    cli("models", "add", "--file", str(file), "--source", "other")
    words = ["rl:m:job:1", "--source", "s", "--kind", "adapter", "--no-auto-promote"]
    cli("models", "add", *words)
    assert [body for _, body in server.asked] == [
        {"name": "peft:m:job", "source": "models/job"},
        {"name": "m", "source": "other", "variants": [{"shape": "L4"}]},
        {"name": "rl:m:job:1", "source": "s", "kind": "adapter", "auto_promote": False},
    ]


@pytest.mark.parametrize("text", [None, "[1]", "a: [", "{}"])
def test_an_entry_that_cannot_be_read_is_a_wrong_call(cli: Cli, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "entry.yaml"
    if text is not None:
        file.write_text(text)
    ran = cli("models", "add", "--file", str(file))
    assert (ran.status, ran.err.count("\n")) == (ExitCode.USAGE, 1)


def test_a_model_is_removed(cli: Cli, server: FakeServer) -> None:
    server.on("DELETE /v1/models/peft:m:job", {"id": "peft:m:job", "deleted": True})
    assert cli("models", "remove", "peft:m:job").out == "peft:m:job is removed.\n"


def warmup(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "w", "model": "m", "gpu": "L4", "state": state, "keep_warm_s": 60, "error": None, **more}


def test_a_warm_up_is_followed_until_it_is_ready(cli: Cli, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "WARMUP_LOOK_EVERY_S", 0)
    server.on("POST /v1/warmup", warmup("starting", step="loading", expected_s=8))
    server.on("GET /v1/warmup/w", warmup("ready"), warmup("failed", error="no weights"))
    ran = cli("models", "warmup", "m", "--gpu", "L4", "--keep-warm", "60")
    assert (ran.status, ran.out) == (0, "m is ready on L4, kept so for 60 s (warm-up w).\n")
    assert "m is starting (loading), about 8 s to go" in ran.err
    assert server.asked[0][1] == {"model": "m", "keep_warm_s": 60, "gpu_preference": "L4"}
    assert cli("models", "warmup", "m", "--no-wait").out.startswith("m is starting on L4")
    failed = cli("models", "warmup", "m")
    assert (failed.status, failed.err.splitlines()[-1]) == (1, "error: m could not start: no weights")


def test_status_and_gpus_are_tables_of_what_matters(cli: Cli, server: FakeServer) -> None:
    cold = {"model": "m", "variant": "L4", "state": "cold", "replicas": [], "num_queued": 0}
    started = {
        "model": "n", "variant": "A10G", "state": "starting", "step": "warming_up", "replicas": [{}], "num_queued": 3,
        "num_running": 1, "num_waiting": 2, "last_cold_start": {"total_s": 12.34}, "last_error": "boom",
    }  # fmt: skip
    server.on("GET /v1/status", {"object": "status", "variants": [cold, started]})
    lines = cli("status").out.splitlines()
    assert lines[1].split() == ["m", "L4", "cold", "0", "0", "0", "0"]
    assert lines[2].split() == "n A10G starting (warming up) 1 1 2 3 12.3 s boom".split()
    shapes = [{"shape": "L4:2", "models": ["m", "n"]}]
    gpus = [{"type": "L4", "total": 4, "free": 2.5, "addable": 8, "shapes": shapes}]
    server.on("GET /v1/gpus", {"object": "list", "data": gpus})
    assert cli("gpus").out.splitlines()[1].split() == "L4 4 2.5 8 L4:2: m, n".split()


def test_an_empty_list_is_said_in_words(cli: Cli, server: FakeServer) -> None:
    server.on("GET /api/services", {"services": []})
    assert cli("service", "list").out == "There are no services.\n"


def test_a_refusal_of_the_server_is_passed_on(cli: Cli, server: FakeServer) -> None:
    server.on("POST /v1/models/m/stop", error(409, "model_in_use", "A warm-up needs it."))
    assert cli("models", "stop", "m").err == "error: A warm-up needs it. (409 model_in_use, request req-1)\n"
