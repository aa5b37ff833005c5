"""The command line and the client library against a running server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raymux import AsyncInferenceClient, ColdStart, InferenceClient
from tests.integration.calls import ADMIN_KEY, CLIENT, USER_KEY, chat
from tests.server import PROJECT, RunningServer, free_port

Run = Callable[..., subprocess.CompletedProcess[str]]
# Six minutes of tokens from the emulated engine.
LONG = ("--model", "fast", "--max-tokens", "72000")


@pytest.fixture
def environment(server: RunningServer, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RAYMUX_URL": server.url,
        "RAYMUX_API_KEY": ADMIN_KEY,
        "RAYMUX_PROFILES": str(tmp_path / "profiles.json"),
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "raymux", *words]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Run the command line to its end."""

    def run(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*words), cwd=PROJECT, env={**environment, **changes}, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def _heed_ctrl_c() -> None:
    """Jobs in the background of a shell have SIGINT ignored, and hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_chat_prints_the_answer(server: RunningServer, run: Run) -> None:
    chat(server, "fast")
    done = run("inference", "chat", "--model", "fast", "--message", "hi", "--max-tokens", "3", "--top-k", "5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one two three \n", "")
    short = run("inference", "--message", "hi", "--max-tokens", "2")
    assert (short.returncode, short.stdout) == (0, "one two \n")


def test_json_is_the_object_of_the_api(server: RunningServer, run: Run) -> None:
    request = {"model": "fast", "message": "hi", "system": "Be brief.", "max_tokens": 3, "seed": 7}
    answered = CLIENT.post(f"{server.url}/api/inference/chat", json=request).json()
    words = ["--model", "fast", "--message", "hi", "--system", "Be brief.", "--max-tokens", "3", "--seed", "7"]
    printed = json.loads(run("inference", "chat", *words, "--output", "json").stdout)
    assert list(printed) == list(answered)
    # How long it took is not the same twice.
    assert {**printed, "latency_ms": 0} == {**answered, "latency_ms": 0}


def test_a_stream_prints_text_or_its_events(run: Run) -> None:
    words = ["inference", "chat", "--model", "fast", "--message", "hi", "--max-tokens", "3", "--stream"]
    assert run(*words).stdout == "one two three \n"
    events = [json.loads(line) for line in run(*words, "--output", "json").stdout.splitlines()]
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


def test_a_wrong_name_is_one_line_and_1(run: Run) -> None:
    for more in ([], ["--stream"]):
        done = run("inference", "chat", "--model", "nonexistent", "--message", "hi", *more)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("error: ")
        assert "nonexistent" not in done.stderr
        assert "model_not_found" in done.stderr


def test_with_nothing_running_the_line_says_how_to_start_it(run: Run) -> None:
    done = run("inference", "chat", "--model", "fast", "--message", "hi", RAYMUX_URL=f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "make serve" in done.stderr


def test_a_key_without_the_right_is_told_so(run: Run) -> None:
    refused = run("models", "stop", "fast", RAYMUX_API_KEY=USER_KEY)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert "admin key" in refused.stderr
    assert run("models", "list", RAYMUX_API_KEY="rmx-nobody-knows-this").returncode == 4


def test_models_are_listed_described_warmed_stopped_and_started(server: RunningServer, run: Run) -> None:
    listed = run("models", "list")
    assert listed.returncode == 0
    assert {"fast", "embedder", "peft:fast:a"} <= {line.split()[0] for line in listed.stdout.splitlines()}
    described = run("models", "get", "Acme/Fast-1B")
    assert f"{server.url}/v1/chat/completions" in described.stdout
    assert "curl " in described.stdout
    warmed = run("models", "warmup", "by-hand", "--keep-warm", "1")
    assert (warmed.returncode, warmed.stdout.startswith("by-hand is ready on CPU")) == (0, True), warmed.stderr
    assert run("models", "stop", "by-hand").returncode == 0
    server.wait_for_state("by-hand", "stopped", 30)
    stopped = run("inference", "chat", "--model", "by-hand", "--message", "hi")
    assert (stopped.returncode, "model_stopped" in stopped.stderr) == (1, True)
    assert run("service", "start", "by-hand").returncode == 0
    server.wait_for_state("by-hand", "ready", 30)


def test_a_model_is_added_and_removed(run: Run) -> None:
    name = "peft:fast:by_cli"
    assert run("models", "add", name, "--source", "models/adapters/job_pirate").returncode == 0
    assert run("inference", "--model", name, "--message", "hi", "--max-tokens", "1").stdout == "one \n"
    assert run("models", "remove", name).returncode == 0
    assert run("models", "get", name).returncode == 1


def test_status_services_and_gpus_have_tables_and_json(run: Run) -> None:
    for words, column in ((["status"], "MODEL"), (["service", "list"], "SERVICE"), (["gpus"], "TYPE")):
        assert run(*words).stdout.startswith(column)
        assert json.loads(run(*words, "--output", "json").stdout)


def test_a_profile_leads_to_the_server(server: RunningServer, run: Run, tmp_path: Path) -> None:
    added = run("profile", "add", "here", "--url", f"{server.url}/v1", "--api-key", ADMIN_KEY)
    assert added.returncode == 0
    assert (tmp_path / "profiles.json").stat().st_mode & 0o777 == 0o600
    assert run("models", "get", "fast", RAYMUX_URL="", RAYMUX_API_KEY="").returncode == 0
    assert ADMIN_KEY not in run("profile", "list", "--output", "json").stdout


def test_ctrl_c_in_a_stream_ends_the_generation(server: RunningServer, environment: dict[str, str]) -> None:
    chat(server, "fast")
    words = command("inference", "chat", "--message", "hi", "--stream", *LONG)
    with subprocess.Popen(
        words, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_heed_ctrl_c
    ) as talker:
        assert talker.stdout is not None
        assert talker.stdout.read(8) == b"one two "
        server.wait_for("fast", lambda status: status["num_running"] == 1, 10, "runs the request")
        talker.send_signal(signal.SIGINT)
        _, said = talker.communicate(timeout=10)
    assert (talker.returncode, said) == (130, b"")
    server.wait_for("fast", lambda status: status["num_running"] == 0, 5, "has ended the request")


def test_everybody_who_waits_for_a_cold_model_is_told_how_far_it_is(
    server: RunningServer, environment: dict[str, str]
) -> None:
    server.wait_for_state("slow-start", "cold", 30)
    words = command("inference", "chat", "--model", "slow-start", "--message", "hi", "--max-tokens", "2")
    talkers = [
        subprocess.Popen(
            [*words, *more], cwd=PROJECT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for more in ([], ["--stream"])
    ]
    seen: list[ColdStart] = []
    with InferenceClient(server.url, ADMIN_KEY, on_cold_start=seen.append) as client:
        assert client.chat("hi", model="slow-start", max_tokens=1) == "one "
        assert client.status().of("slow-start")[0].state == "ready"
    assert any(each.step == "loading" for each in seen)
    for talker in talkers:
        out, err = talker.communicate(timeout=60)
        assert (talker.returncode, out) == (0, "one two \n")
        assert "slow-start is starting (loading)" in err


def test_the_client_library_answers_embeds_and_describes(server: RunningServer) -> None:
    with InferenceClient(server.url, ADMIN_KEY) as client:
        assert client.chat("hi", model="fast", max_tokens=3) == "one two three "
        assert "".join(client.chat("hi", model="fast", max_tokens=3, stream=True)) == "one two three "
        vectors = client.embed(["a", "bcd"], model="embedder")
        assert [len(vector) for vector in vectors] == [8, 8]
        assert client.models.retrieve("peft:fast:a").to_dict()["parent"] == "fast"


async def test_the_client_for_asyncio_warms_up_and_answers(server: RunningServer) -> None:
    seen: list[ColdStart] = []
    async with AsyncInferenceClient(f"{server.url}/v1", ADMIN_KEY) as client:
        warmup = await client.warmup("slow-start", keep_warm_s=0, on_cold_start=seen.append)
        # Not kept at all, it may have ended by the time that the client looks.
        assert warmup.state in ("ready", "ended")
        assert await client.chat("hi", model="slow-start", max_tokens=1) == "one "
        assert [piece async for piece in client.chat.stream("hi", model="fast", max_tokens=2)] == ["one ", "two "]
