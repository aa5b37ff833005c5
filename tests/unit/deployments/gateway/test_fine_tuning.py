from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import openai
import pytest

from catalog.errors import JobNotFound, JobStateConflict
from catalog.fine_tuning import Hyperparameters, JobStatus, Method
from catalog.jobs import Checkpoint, Job, JobEvent, JobRequest
from catalog.keys import ApiKeySettings
from deployments.gateway import job_events
from router.keys import Keyring, hash_key
from tests.unit.builders import CHAT, CHAT_ALIAS, EMBEDDER, PIRATE, catalog_dict, catalog_settings, settle
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

JOBS = "/v1/fine_tuning/jobs"
PROVIDER = {
    "name": "openai", "base_url": "https://api.example.com/v1", "models": [{"name": "gpt-4o-mini"}],
}  # fmt: skip


@pytest.fixture
async def tuning(gateway: GatewayUnderTest) -> GatewayUnderTest:
    gateway.manager.configure(catalog_settings(fine_tuning={}))
    await gateway.publish()
    gateway.manager.answers["fine_tuning"] = job()
    return gateway


def job(**changes: Any) -> Job:
    request = JobRequest(
        tenant="default", model=CHAT, variants=(f"{CHAT}@CPU",), method=Method.SUPERVISED, training_file="file-1",
        hyperparameters=Hyperparameters(n_epochs=2), metadata={"team": "sea"},
    )  # fmt: skip
    fields: dict[str, Any] = {
        "id": "ftjob-1", "request": request, "name": f"peft:{CHAT}:ftjob-1", "folder": "/secret/ftjob-1",
        "created_s": 5.0, "queued_s": 5.0,
    }  # fmt: skip
    return Job(**{**fields, **changes})


def event(number: int, **changes: Any) -> JobEvent:
    return JobEvent(**{
        "number": number, "at_s": 6.0, "level": "info", "type": "message", "message": f"m{number}", **changes,
    })  # fmt: skip


async def create(gateway: GatewayUnderTest, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return await gateway.post(JOBS, json={"model": CHAT, "training_file": "file-1", **body}, headers=headers)


def asked(gateway: GatewayUnderTest) -> JobRequest:
    ((verb, wish, request),) = gateway.manager.calls
    assert (verb, wish) == ("fine_tuning", "create")
    return request


async def test_a_wish_reaches_the_manager_whole(tuning: GatewayUnderTest) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": "auto", "batch_size": 4}}}
    reply = await create(
        tuning, model=CHAT_ALIAS, method=method, seed=3, suffix="pirates", validation_file="file-2",
        metadata={"a": "b"}, gpu_preference=["H100:4", "CPU"],
    )  # fmt: skip
    assert (reply.status_code, reply.json()["object"]) == (200, "fine_tuning.job")
    assert asked(tuning) == JobRequest(
        tenant="default", model=CHAT, variants=(f"{CHAT}@H100:4", f"{CHAT}@CPU"), method=Method.DPO,
        training_file="file-1", validation_file="file-2",
        hyperparameters=Hyperparameters(beta=0.2, batch_size=4, lora_rank=8), given=("beta", "batch_size"), seed=3,
        suffix="pirates", metadata={"a": "b"},
    )  # fmt: skip


async def test_the_preference_may_stand_in_the_header(tuning: GatewayUnderTest) -> None:
    await create(tuning, headers={"x-gpu-preference": "H100:4"})
    assert asked(tuning).variants == (f"{CHAT}@H100:4",)


async def test_a_cpu_that_stands_in_for_gpus_trains_only_when_asked_for(tuning: GatewayUnderTest) -> None:
    models = catalog_dict()["models"]
    models[0]["variants"].reverse()
    tuning.manager.configure(catalog_settings(fine_tuning={}, models=models))
    await tuning.publish()
    await create(tuning)
    await create(tuning, gpu_preference="CPU")
    assert [call[2].variants for call in tuning.manager.calls] == [(f"{CHAT}@H100:4",), (f"{CHAT}@CPU",)]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"model": None}, 400, "invalid_request", "model"),
        ({"model": "openai/gpt-4o-mini"}, 400, "invalid_request", "model"),
        ({"model": EMBEDDER}, 400, "invalid_request", "model"),
        ({"model": PIRATE}, 400, "invalid_request", "model"),
        ({"model": "bare"}, 400, "invalid_request", "model"),
        ({"training_file": 3}, 400, "invalid_request", "training_file"),
        ({"hyperparameters": {"lora_rank": 16}}, 400, "invalid_request", "hyperparameters.lora_rank"),
        ({"hyperparameters": {"n_epochs": 1000}}, 400, "invalid_request", "hyperparameters.n_epochs"),
        ({"method": {"type": "reinforcement"}}, 400, "invalid_request", "method"),
        ({"suffix": "a b"}, 400, "invalid_request", "suffix"),
        ({"gpu_preference": "TPU"}, 400, "invalid_gpu_preference", "gpu_preference"),
        ({"gpu_preference": "L4"}, 400, "gpu_not_supported_for_model", "gpu_preference"),
        ({"colour": "red"}, 400, "invalid_request", "colour"),
    ],
)
async def test_a_wrong_wish_is_refused_and_starts_nothing(
    tuning: GatewayUnderTest, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    models = [*catalog_dict()["models"], {"name": "bare", "source": "models/demo-chat", "variants": [{"shape": "CPU"}]}]
    tuning.manager.configure(catalog_settings(fine_tuning={}, models=models, providers=[PROVIDER]))
    await tuning.publish()
    reply = await create(tuning, **body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (status, code, param)
    assert tuning.manager.calls == []


async def test_full_weights_need_no_adapters(tuning: GatewayUnderTest) -> None:
    models = [*catalog_dict()["models"], {"name": "bare", "source": "models/demo-chat", "variants": [{"shape": "CPU"}]}]
    tuning.manager.configure(catalog_settings(fine_tuning={}, models=models))
    await tuning.publish()
    assert (await create(tuning, model="bare", hyperparameters={"weights": "full"})).status_code == 200


async def test_a_key_trains_only_models_that_it_may_use(tuning: GatewayUnderTest) -> None:
    key = {"id": "k", "sha256": hash_key("rmx-a-key-0123456"), "tenant": "acme", "models": [EMBEDDER]}
    tuning.keyring = Keyring([ApiKeySettings.model_validate(key)])
    headers = {"authorization": "Bearer rmx-a-key-0123456"}
    assert (await create(tuning, headers=headers)).status_code == 403
    await tuning.get(f"{JOBS}/ftjob-1", headers=headers)
    assert tuning.manager.calls == [("fine_tuning", "job", "acme", "ftjob-1")]


async def test_without_the_setting_the_error_says_how_to_turn_it_on(gateway: GatewayUnderTest) -> None:
    for reply in (await create(gateway), await gateway.get(JOBS), await gateway.get(f"{JOBS}/x/events?stream=true")):
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")
        assert "fine_tuning: {}" in reply.json()["error"]["message"]
    assert gateway.manager.calls == []


async def test_a_job_shows_how_it_fares_and_no_path(tuning: GatewayUnderTest) -> None:
    tuning.manager.answers["fine_tuning"] = job(
        status=JobStatus.SUCCEEDED, step=20, num_steps=20, loss=0.5, fine_tuned_model="peft:demo-chat:ftjob-1",
        result={"folder": "/secret", "validation_loss": 0.2, "validation_loss_before": 0.9}, trained_tokens=100,
        samples=({"prompt": "hi", "before": "a", "after": "b"},),
    )  # fmt: skip
    reply = await tuning.get(f"{JOBS}/ftjob-1")
    shown = reply.json()
    assert "secret" not in reply.text
    assert (shown["status"], shown["fine_tuned_model"], shown["trained_tokens"]) == (
        "succeeded", "peft:demo-chat:ftjob-1", 100,
    )  # fmt: skip
    assert shown["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    own = shown["raymux"]
    assert (own["step"], own["loss"], own["validation_loss"], own["validation_loss_before"]) == (20, 0.5, 0.2, 0.9)
    assert own["samples"][0]["after"] == "b"


async def test_who_reads_that_a_job_has_succeeded_may_call_its_model(tuning: GatewayUnderTest) -> None:
    name = "peft:demo-chat:new"
    tuning.manager.answers["fine_tuning"] = job(
        status=JobStatus.SUCCEEDED, fine_tuned_model=name, finished_s=time.time(), result={}
    )
    asking = asyncio.create_task(tuning.get(f"{JOBS}/ftjob-1"))
    await settle()
    assert not asking.done()
    adapters = [*catalog_dict()["adapters"], {"name": name, "source": "x"}]
    tuning.manager.configure(catalog_settings(fine_tuning={}, adapters=adapters))
    await tuning.publish()
    assert (await asking).json()["fine_tuned_model"] == name


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
async def test_orders_reach_the_manager_and_its_refusals_the_caller(tuning: GatewayUnderTest, verb: str) -> None:
    assert (await tuning.post(f"{JOBS}/ftjob-1/{verb}")).json()["id"] == "ftjob-1"
    tuning.manager.refusal = JobStateConflict("The job is succeeded already.")
    reply = await tuning.post(f"/fine_tuning/jobs/ftjob-1/{verb}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "job_state_conflict")
    assert [call[1] for call in tuning.manager.calls] == [verb, verb]


async def test_jobs_are_listed_newest_first_and_by_their_metadata(tuning: GatewayUnderTest) -> None:
    tuning.manager.answers["fine_tuning"] = [job(id=f"ftjob-{number}") for number in range(30)]
    listed = (await tuning.get(JOBS)).json()
    assert ([each["id"] for each in listed["data"]][:2], len(listed["data"])) == (["ftjob-29", "ftjob-28"], 20)
    assert listed["has_more"]
    rest = (await tuning.get(f"{JOBS}?after=ftjob-10&limit=100")).json()
    assert (len(rest["data"]), rest["has_more"]) == (10, False)
    assert (await tuning.get(f"{JOBS}?metadata[team]=land")).json()["data"] == []
    assert len((await tuning.get(f"{JOBS}?metadata[team]=sea")).json()["data"]) == 20


async def test_events_are_listed_newest_first(tuning: GatewayUnderTest) -> None:
    tuning.manager.answers["fine_tuning"] = (job(), [event(1), event(2, type="metrics", data={"loss": 0.5})])
    listed = (await tuning.get(f"{JOBS}/ftjob-1/events")).json()
    assert [each["message"] for each in listed["data"]] == ["m2", "m1"]
    assert listed["data"][0]["data"] == {"loss": 0.5}
    rest = (await tuning.get(f"{JOBS}/ftjob-1/events?after={listed['data'][0]['id']}")).json()
    assert [each["message"] for each in rest["data"]] == ["m1"]
    assert (await tuning.get(f"{JOBS}/ftjob-1/events?stream=maybe")).status_code == 400


@pytest.mark.parametrize("how", ["query", "header"])
async def test_events_are_streamed_until_the_job_ends(
    tuning: GatewayUnderTest, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_events, "INTERVAL_S", 0)
    answers = [(job(), [event(1)]), (job(), []), (job(status=JobStatus.SUCCEEDED), [event(2)])]

    class Answers(dict[str, Any]):
        def get(self, verb: str, default: Any = None) -> Any:
            return answers.pop(0)

    tuning.manager.answers = Answers()
    path = f"{JOBS}/ftjob-1/events" + ("?stream=true" if how == "query" else "")
    reply = await tuning.get(path, headers={"accept": "text/event-stream"} if how == "header" else None)
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(line)["message"] for line in lines[:-1]] == ["m1", "m2"]
    assert lines[-1] == "[DONE]"
    assert [call[-1] for call in tuning.manager.calls] == [0, 1, 1]


async def test_a_stream_of_an_unknown_job_is_an_error_of_its_own(tuning: GatewayUnderTest) -> None:
    tuning.manager.refusal = JobNotFound("No fine-tuning job has this id.")
    reply = await tuning.get(f"{JOBS}/nobody/events?stream=true")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")


async def test_checkpoints_are_listed_with_the_names_they_get(tuning: GatewayUnderTest) -> None:
    made = [Checkpoint(step=step, at_s=7.0, folder="/secret", name=f"n-{step}", loss=0.5) for step in (10, 20)]
    tuning.manager.answers["fine_tuning"] = job(checkpoints=tuple(made))
    reply = await tuning.get(f"{JOBS}/ftjob-1/checkpoints")
    assert [each["fine_tuned_model_checkpoint"] for each in reply.json()["data"]] == ["n-20", "n-10"]
    assert reply.json()["data"][0]["metrics"] == {"step": 20, "train_loss": 0.5}
    assert "secret" not in reply.text


async def test_the_official_clients_types_read_what_is_shown(tuning: GatewayUnderTest) -> None:
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
    from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

    made = Checkpoint(step=10, at_s=7.0, folder="/f", name="n", loss=0.5)
    whole = job(checkpoints=(made,), status=JobStatus.FAILED, error_code="x", error="y", finished_s=9.0)
    tuning.manager.answers["fine_tuning"] = whole
    FineTuningJob.model_validate((await tuning.get(f"{JOBS}/ftjob-1")).json())
    listed = (await tuning.get(f"{JOBS}/ftjob-1/checkpoints")).json()
    FineTuningJobCheckpoint.model_validate(listed["data"][0])
    tuning.manager.answers["fine_tuning"] = (whole, [event(1)])
    FineTuningJobEvent.model_validate((await tuning.get(f"{JOBS}/ftjob-1/events")).json()["data"][0])
    assert openai.__version__
    await settle()
