from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raymux.cli.commands import tune
from raymux.cli.errors import ExitCode
from tests.unit.raymux.cli.conftest import FakeServer, Ran, error

Cli = Callable[..., Ran]
JOBS = "/v1/fine_tuning/jobs"


def job(status: str = "queued", **own: Any) -> dict[str, Any]:
    fields = {
        "gpu": None, "waits_for": None, "wish": None, "step": 0, "num_steps": None, "loss": None,
        "tokens_per_second": None, "validation_loss": None, "validation_loss_before": None, "samples": [],
    }  # fmt: skip
    return {
        "id": "ftjob-1", "object": "fine_tuning.job", "model": "demo-chat", "status": status,
        "method": {"type": "supervised"}, "error": {"message": "It broke."} if status == "failed" else None,
        "fine_tuned_model": "peft:demo-chat:pirates" if status == "succeeded" else None, "raymux": {**fields, **own},
    }  # fmt: skip


def event(number: int, type_: str = "message") -> dict[str, Any]:
    return {"id": f"ftevent-1-{number}", "type": type_, "message": f"event {number}"}


def events(*newest: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(newest)}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "LOOK_EVERY_S", 0)


def test_a_job_is_created_from_a_file_that_is_uploaded_first(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}')
    server.on("POST /v1/files", {"id": "file-new"})
    server.on(f"POST {JOBS}", job())
    ran = cli(
        "tune", "create", "demo-chat", str(file), "--method", "dpo", "--suffix", "pirates", "--epochs", "2", "--beta",
        "0.2", "--seed", "0", "--gpu", "L4", "--validation", "file-9", "--weights", "lora",
    )  # fmt: skip
    assert (ran.status, "ftjob-1 is queued" in ran.out) == (0, True)
    (_, form), (_, body) = server.asked
    assert b'name="purpose"\r\n\r\nfine-tune' in form
    assert b'filename="examples.jsonl"' in form
    assert body == {
        "model": "demo-chat", "training_file": "file-new", "validation_file": "file-9", "suffix": "pirates", "seed": 0,
        "gpu_preference": "L4",
        "method": {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.2, "weights": "lora"}}},
    }  # fmt: skip


def test_a_file_that_is_not_there_is_a_wrong_call(cli: Cli, server: FakeServer) -> None:
    ran = cli("tune", "create", "demo-chat", "/nowhere/examples.jsonl")
    assert (ran.status, ran.err.count("\n"), server.asked) == (ExitCode.USAGE, 1, [])


def test_what_the_server_refuses_is_one_line(cli: Cli, server: FakeServer) -> None:
    server.on(f"POST {JOBS}", error(409, "model_exists", "A model has this name."))
    ran = cli("tune", "create", "demo-chat", "file-1")
    assert (ran.status, ran.err.count("\n")) == (ExitCode.FAILED, 1)


def test_jobs_are_listed(cli: Cli, server: FakeServer) -> None:
    server.on(f"GET {JOBS}?limit=100", events(job("running", step=3, num_steps=20), job("succeeded")))
    lines = cli("tune", "list").out.splitlines()
    assert lines[0].split() == ["JOB", "MODEL", "METHOD", "STATUS", "STEP", "RESULT"]
    assert lines[1].split() == ["ftjob-1", "demo-chat", "supervised", "running", "3/20"]
    assert lines[2].endswith("peft:demo-chat:pirates")


def test_get_shows_what_came_of_it(cli: Cli, server: FakeServer) -> None:
    found = job(
        "succeeded", step=20, num_steps=20, loss=0.5, validation_loss=0.25, validation_loss_before=2.0,
        samples=[{"prompt": "Hi", "before": "Hello", "after": "Ahoy"}],
    )  # fmt: skip
    server.on(f"GET {JOBS}/ftjob-1", found)
    out = cli("tune", "get", "ftjob-1").out
    assert "loss 2.0000 before, 0.2500 after" in out
    assert "Ahoy" in out
    assert "raymux inference chat --model peft:demo-chat:pirates" in out
    assert json.loads(cli("tune", "get", "ftjob-1", "--output", "json").out) == found


def test_watch_says_each_event_once_and_ends_with_the_model(cli: Cli, server: FakeServer) -> None:
    server.on(f"GET {JOBS}/ftjob-1", job(), job("running", step=1, num_steps=2, loss=0.5), job("succeeded"))
    server.on(
        f"GET {JOBS}/ftjob-1/events?limit=100", events(event(1)), events(event(2, "metrics"), event(1)),
        events(event(3), event(2, "metrics"), event(1)),
    )  # fmt: skip
    ran = cli("tune", "watch", "ftjob-1")
    assert (ran.status, ran.out) == (0, "peft:demo-chat:pirates\n")
    assert ran.err.splitlines() == ["event 1", "event 3"]


def test_watch_for_scripts_is_a_line_for_each_event_and_the_job(cli: Cli, server: FakeServer) -> None:
    server.on(f"GET {JOBS}/ftjob-1", job("failed"))
    server.on(f"GET {JOBS}/ftjob-1/events?limit=100", events(event(2, "metrics"), event(1)))
    ran = cli("tune", "watch", "ftjob-1", "--output", "json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["id"] for line in lines] == ["ftevent-1-1", "ftevent-1-2", "ftjob-1"]
    assert (ran.status, ran.err) == (ExitCode.FAILED, "error: ftjob-1 is failed: It broke.\n")


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_orders_say_how_the_job_stands_then(cli: Cli, server: FakeServer, verb: str) -> None:
    server.on(f"POST {JOBS}/ftjob-1/{verb}", job("running", wish="pause"))
    assert cli("tune", verb, "ftjob-1").out == "ftjob-1 is running, and about to pause.\n"
