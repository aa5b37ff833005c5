"""The official client, untouched, on the gateway's app and the manager's part in fine-tuning; trainings are played."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from catalog.errors import RaymuxError
from catalog.fine_tuning import JobStatus, ReportKind
from tests.unit.builders import CHAT, catalog_settings
from tests.unit.deployments.fine_tuning.conftest import World
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

EXAMPLE = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ahoy"}]}
EXAMPLES = (json.dumps(EXAMPLE) + "\n").encode() * 3


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def client(gateway: GatewayUnderTest, world: World, tmp_path: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    async def ask(verb: str, *arguments: Any) -> Any:
        try:
            return await world.tuning.call(verb, *arguments)
        except RaymuxError as error:
            return error

    gateway.manager.fine_tuning = SimpleNamespace(remote=ask)
    gateway.manager.configure(catalog_settings(fine_tuning={"files": str(tmp_path / "files")}))
    await gateway.publish()
    transport = httpx2.ASGITransport(gateway.app)
    async with openai.AsyncOpenAI(
        base_url="http://gateway/v1", api_key="none", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        yield client


async def upload(client: openai.AsyncOpenAI, content: bytes = EXAMPLES) -> str:
    return (await client.files.create(file=("examples.jsonl", content), purpose="fine-tune")).id


async def test_files_are_uploaded_listed_read_and_deleted(client: openai.AsyncOpenAI) -> None:
    ids = [await upload(client) for _ in range(3)]
    found = await client.files.retrieve(ids[0])
    assert (found.filename, found.bytes, found.purpose, found.status) == (
        "examples.jsonl", len(EXAMPLES), "fine-tune", "processed",
    )  # fmt: skip
    assert {file.id async for file in client.files.list(limit=1)} == set(ids), "all pages are followed"
    assert (await client.files.content(ids[0])).content == EXAMPLES
    assert (await client.files.delete(ids[0])).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(ids[0])


async def test_a_wrong_file_is_refused_with_its_line(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="line 4: is not valid JSON") as caught:
        await upload(client, EXAMPLES + b"{")
    assert caught.value.code == "invalid_training_file"


async def test_a_job_from_its_file_to_its_model(client: openai.AsyncOpenAI, world: World) -> None:
    file = await upload(client)
    job = await client.fine_tuning.jobs.create(
        model=CHAT, training_file=file, suffix="sailor", seed=5, metadata={"team": "sea"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 2}}},
    )  # fmt: skip
    assert (job.status, job.seed, job.hyperparameters.batch_size) == ("validating_files", 5, 2)
    with pytest.raises(openai.ConflictError):
        await client.files.delete(file)
    await world.steps()
    world.finish(job.id)
    await world.steps()
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.fine_tuned_model, job.trained_tokens) == ("succeeded", f"peft:{CHAT}:sailor", 100)
    assert [each.id async for each in client.fine_tuning.jobs.list()] == [job.id]
    events = [event async for event in client.fine_tuning.jobs.list_events(job.id, limit=2)]
    assert "succeeded" in events[0].message
    assert len({event.id for event in events}) == len(events) == len(world.messages(job.id))
    made = [each async for each in client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert [each.fine_tuned_model_checkpoint for each in made] == [
        f"peft:{CHAT}:sailor-step-20", f"peft:{CHAT}:sailor-step-10",
    ]  # fmt: skip
    assert made[0].metrics.train_loss == 0.05


async def test_a_job_is_paused_resumed_and_cancelled(client: openai.AsyncOpenAI, world: World) -> None:
    job = await client.fine_tuning.jobs.create(model=CHAT, training_file=await upload(client))
    await world.steps()
    assert (await client.fine_tuning.jobs.pause(job.id)).status == "running"
    world.trainings.say(job.id, ReportKind.PAUSED, step=1)
    await world.steps()
    assert (await client.fine_tuning.jobs.retrieve(job.id)).status == "paused"
    assert (await client.fine_tuning.jobs.resume(job.id)).status == "queued"
    await world.steps()
    assert world.job(job.id).status is JobStatus.RUNNING
    assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
    await world.steps()
    assert world.trainings.running == {}
    with pytest.raises(openai.ConflictError, match="cancelled already"):
        await client.fine_tuning.jobs.cancel(job.id)


async def test_preferences_are_learned_by_dpo_alone(client: openai.AsyncOpenAI) -> None:
    pair = {
        "input": {"messages": EXAMPLE["messages"][:1]}, "preferred_output": EXAMPLE["messages"][1:],
        "non_preferred_output": [{"role": "assistant", "content": "hello"}],
    }  # fmt: skip
    file = await upload(client, json.dumps(pair).encode())
    with pytest.raises(openai.BadRequestError, match="preference examples"):
        await client.fine_tuning.jobs.create(model=CHAT, training_file=file)
    job = await client.fine_tuning.jobs.create(
        model=CHAT, training_file=file, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    )
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert job.method.dpo.hyperparameters.beta == 0.2
