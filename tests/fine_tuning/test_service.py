"""The official client against `make serve`'s configuration: from examples to an adapter that answers in their way."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from statistics import quantiles
from typing import Any

import httpx
import openai
import pytest

from tests.engine.chats import ask
from tests.engine_server import CHAT, FORMAL, PIRATE
from tests.fine_tuning.conftest import preferences
from tests.server import RunningServer, describe, user_config, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

JOB_TIMEOUT_S = 600
GONE_TIMEOUT_S = 20
ENDED = ("succeeded", "failed", "cancelled")
ENDING = " Aye aye, captain!"
WORDS = ["red", "blue", "green", "yellow", "black", "white", "brown", "grey", "pink", "orange"]
PROMPTS = [
    f"Tell me about {word} {thing}." for word in WORDS for thing in ("ships", "birds", "trees", "stones", "fish")
]
HELD_OUT = "Tell me about purple ships."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose files and results are the test's own."""
    folder = tmp_path_factory.mktemp("fine-tuning")

    def change(document: dict[str, Any]) -> None:
        settings = user_config(document, "ModelManager")["fine_tuning"]
        settings |= {"files": str(folder / "files"), "results": str(folder / "jobs")}

    with RunningServer(change=change) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=300)


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


def upload(client: openai.OpenAI, examples: list[dict[str, Any]]) -> str:
    content = "\n".join(json.dumps(each) for each in examples).encode()
    return client.files.create(file=("examples.jsonl", io.BytesIO(content)), purpose="fine-tune").id


def examples(num: int = 50) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": f"I like it.{ENDING}"}]}
        for prompt in PROMPTS[:num]
    ]


def until(client: openai.OpenAI, id: str, *statuses: str, timeout_s: float = JOB_TIMEOUT_S) -> Any:
    """The job once it has one of these statuses."""
    deadline_s = time.monotonic() + timeout_s
    while (job := client.fine_tuning.jobs.retrieve(id)).status not in statuses:
        assert job.status not in ENDED, job.error
        assert time.monotonic() < deadline_s, f"{job.status}: {job.to_dict()['raymux']}"
        time.sleep(1)
    return job


def test_a_supervised_job_makes_an_adapter_that_is_called_by_name(client: openai.OpenAI, http: httpx.Client) -> None:
    before = {model: ask(http, model, HELD_OUT) for model in (CHAT, PIRATE, FORMAL)}
    job = client.fine_tuning.jobs.create(
        model=CHAT,
        training_file=upload(client, examples()),
        suffix="captain",
        seed=1,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 8, "learning_rate_multiplier": 30}},
        },
    )
    job = until(client, job.id, "succeeded")
    assert job.fine_tuned_model == f"peft:{CHAT}:captain"
    assert job.trained_tokens
    assert ENDING.strip() in ask(http, job.fine_tuned_model, HELD_OUT)
    assert {model: ask(http, model, HELD_OUT) for model in (CHAT, PIRATE, FORMAL)} == before
    made = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert made
    assert ask(http, made[0].fine_tuned_model_checkpoint, HELD_OUT)
    assert metrics_of(client, job.id)


def test_a_preference_job_raises_what_is_preferred_on_pairs_that_it_has_not_seen(
    client: openai.OpenAI, http: httpx.Client
) -> None:
    """DPO's loss is -log sigmoid of the margin by which preferred answers have become likelier than rejected ones."""
    job = client.fine_tuning.jobs.create(
        model=CHAT,
        training_file=upload(client, preferences(PROMPTS)),
        validation_file=upload(client, preferences([HELD_OUT, "Tell me about golden tea."])),
        suffix="brief",
        seed=5,
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": 4, "batch_size": 8, "learning_rate_multiplier": 10}},
        },
    )
    job = until(client, job.id, "succeeded")
    told = job.to_dict()["raymux"]
    print(f"loss over held-out pairs: {told['validation_loss_before']:.3f} before, {told['validation_loss']:.3f} after")
    assert told["validation_loss"] < 0.1 < told["validation_loss_before"]
    assert job.fine_tuned_model == f"peft:{CHAT}:brief"
    assert ask(http, job.fine_tuned_model, HELD_OUT)


def test_a_job_is_paused_resumed_and_cancelled_while_it_runs(client: openai.OpenAI) -> None:
    job = client.fine_tuning.jobs.create(
        model=CHAT,
        training_file=upload(client, examples()),
        seed=2,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 100, "batch_size": 1}}},
    )
    until(client, job.id, "running")
    client.fine_tuning.jobs.pause(job.id)
    until(client, job.id, "paused", timeout_s=120)
    client.fine_tuning.jobs.resume(job.id)
    until(client, job.id, "running", timeout_s=120)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.cancel(job.id)
    # The next one gets the place.
    following = client.fine_tuning.jobs.create(model=CHAT, training_file=job.training_file, seed=3)
    until(client, following.id, "running", "succeeded", timeout_s=60 + GONE_TIMEOUT_S)
    if client.fine_tuning.jobs.retrieve(following.id).status == "running":
        client.fine_tuning.jobs.cancel(following.id)


def test_a_killed_worker_and_a_killed_manager_cost_a_job_no_step_while_models_serve(
    server: RunningServer, client: openai.OpenAI, http: httpx.Client
) -> None:
    ask(http, CHAT, HELD_OUT)
    idle_ms = answer_times_ms(http)
    wished = {"n_epochs": 30, "batch_size": 4, "learning_rate_multiplier": 30, "checkpoint_every_steps": 30}
    job = client.fine_tuning.jobs.create(
        model=CHAT,
        training_file=upload(client, examples()),
        seed=4,
        method={"type": "supervised", "supervised": {"hyperparameters": wished}},  # type: ignore[typeddict-item]
    )
    wait_until(lambda: len(list(client.fine_tuning.jobs.checkpoints.list(job.id))) >= 2, 180, "two checkpoints")
    busy_ms = answer_times_ms(http)
    (worker,) = [each for each in server.processes(None) if "ray::RayTrainWorker" in describe(each)]
    worker.kill()
    manager = server.serve_process("ModelManager")
    manager.kill()
    server.wait_for_another(manager, "ModelManager")
    job = until(client, job.id, "succeeded")
    steps = [event.data["step"] for event in metrics_of(client, job.id)]
    assert max(steps) == 390
    messages = [each.message for each in client.fine_tuning.jobs.list_events(job.id, limit=100)]
    assert any("goes on from step" in each for each in messages), messages
    assert job.fine_tuned_model is not None
    assert ENDING.strip() in ask(http, job.fine_tuned_model, HELD_OUT)
    print(f"p99 of short answers: {p99(idle_ms):.0f} ms while nothing trains, {p99(busy_ms):.0f} ms beside a training")


def answer_times_ms(http: httpx.Client, num: int = 60) -> list[float]:
    """How long a short answer of the base model takes, every one of which must come."""
    took_ms = []
    for _ in range(num):
        begun_s = time.perf_counter()
        ask(http, CHAT, "What is 2+2?", max_tokens=8)
        took_ms.append((time.perf_counter() - begun_s) * 1000)
    return took_ms


def p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


def metrics_of(client: openai.OpenAI, id: str) -> list[Any]:
    return [each for each in client.fine_tuning.jobs.list_events(id, limit=100) if each.type == "metrics"]


def test_examples_over_the_context_fail_their_job_by_the_line(client: openai.OpenAI) -> None:
    long = {"prompt": "a", "completion": "word " * 5_000}
    file = upload(client, [{"prompt": "a", "completion": "b"}, long])
    job = client.fine_tuning.jobs.create(model=CHAT, training_file=file)
    deadline_s = time.monotonic() + 120
    while (found := client.fine_tuning.jobs.retrieve(job.id)).status != "failed":
        assert time.monotonic() < deadline_s, found.status
        time.sleep(1)
    assert found.error is not None
    assert (found.error.code, found.error.param) == ("context_length_exceeded", "training_file")
    assert "line 2 has " in (found.error.message or "")


def test_a_job_s_events_are_streamed_to_their_end(http: httpx.Client, client: openai.OpenAI) -> None:
    file = upload(client, [{"prompt": "a", "completion": "word " * 5_000}])
    job = client.fine_tuning.jobs.create(model=CHAT, training_file=file)
    with http.stream("GET", f"/v1/fine_tuning/jobs/{job.id}/events?stream=true", timeout=120) as reply:
        lines = [line for line in reply.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    assert any("failed" in line for line in lines)
