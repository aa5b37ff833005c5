from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

import raymux
from raymux import BentoMLClient, ColdStart, InferenceClient, WarmupFailed, get_bentoml_client
from raymux.client import bodies, cold_start
from tests.unit.raymux.client.stub import Stub, completion, error, stream


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAYMUX_URL", "INFERENCE_URL", "BENTOML_URL", "RAYMUX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")


@pytest.fixture
def client(stub: Stub) -> Iterator[InferenceClient]:
    with InferenceClient(http_client=stub.client, max_retries=0) as opened:
        yield opened


def test_chat_sends_every_parameter_and_answers_with_the_text(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /chat/completions", completion("four"))
    assert client.chat("2+2?", model="m", top_k=3, gpu_preference="L4") == "four"
    body = {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "top_k": 3, "gpu_preference": "L4"}
    assert stub.asked == [("POST /chat/completions", body)]


def test_without_a_model_none_is_sent_so_that_the_server_s_default_answers(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /chat/completions", completion("hi"))
    client.chat([{"role": "user", "content": "hi"}])
    assert "model" not in stub.asked[0][1]


def test_chat_streams_pieces(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /chat/completions", stream("a", "b"))
    assert list(client.chat("x", stream=True)) == ["a", "b"]


def test_the_official_calls_work_untouched(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /chat/completions", completion("four"), stream("a", "b"))
    reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert isinstance(reply, openai.types.chat.ChatCompletion)
    chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["a", "b"]
    stub.on("GET /models", {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "state": "cold"}]})
    (model,) = client.models.list().data
    assert (model.id, model.to_dict()["state"]) == ("m", "cold")


def test_files_and_fine_tuning_jobs_are_the_official_ones(stub: Stub, client: InferenceClient) -> None:
    stub.on("GET /files", {"object": "list", "data": [{"id": "file-1", "object": "file"}], "has_more": False})
    stub.on("GET /fine_tuning/jobs/ftjob-1", {"id": "ftjob-1", "status": "running", "raymux": {"step": 3}})
    assert [file.id for file in client.files.list()] == ["file-1"]
    job = client.fine_tuning.jobs.retrieve("ftjob-1")
    assert (job.status, job.to_dict()["raymux"]) == ("running", {"step": 3})


def test_nothing_that_is_meant_for_openai_is_sent(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /chat/completions", completion("hi"))
    client.chat("hi")
    client.with_options(timeout=3).chat("hi")
    for headers in stub.headers:
        assert not any("secret" in value for value in headers.values())


def test_embed_keeps_the_order_of_the_texts(stub: Stub, client: InferenceClient) -> None:
    data = [{"object": "embedding", "index": index, "embedding": [float(index)]} for index in (1, 0)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    stub.on("POST /embeddings", {"object": "list", "model": "e", "data": data, "usage": usage})
    assert client.embed(["a", "b"], model="e") == [[0.0], [1.0]]
    assert client.embed("a") == [[0.0], [1.0]]
    assert stub.asked == [
        ("POST /embeddings", {"model": "e", "input": ["a", "b"]}),
        ("POST /embeddings", {"input": ["a"]}),
    ]


def test_rerank_answers_with_the_best_first(stub: Stub, client: InferenceClient) -> None:
    results = [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]
    stub.on("POST /rerank", {"id": "r", "results": results, "model": "e"})
    (best,) = client.rerank("q", ["a", "b"], top_n=1)
    assert (best.index, best.relevance_score, best.document) == (1, 0.9, {"text": "b"})
    assert stub.asked == [("POST /rerank", {"query": "q", "documents": ["a", "b"], "top_n": 1})]


def warmup(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "w1", "object": "warmup", "model": "m", "gpu": "L4", "state": state, "keep_warm_s": 60, **more}


def test_warmup_waits_and_tells_how_far_it_is(
    stub: Stub, client: InferenceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "WARMUP_LOOK_EVERY_S", 0)
    stub.on("POST /warmup", warmup("starting", step="scheduling"))
    stub.on("GET /warmup/w1", warmup("starting", step="loading", expected_s=4), warmup("ready", took_s=7.5))
    seen: list[ColdStart] = []
    ready = client.warmup("m", gpu=["L4", "A10G"], keep_warm_s=60, on_cold_start=seen.append)
    assert (ready.state, ready.took_s) == ("ready", 7.5)
    assert [each.step for each in seen] == ["scheduling", "loading"]
    assert stub.asked[0][1] == {"model": "m", "keep_warm_s": 60, "gpu_preference": ["L4", "A10G"]}


def test_warmup_need_not_wait_and_fails_with_the_reason(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /warmup", warmup("starting"), warmup("failed", error="no weights"))
    assert client.warmup("m", wait=False).state == "starting"
    with pytest.raises(WarmupFailed, match="no weights"):
        client.warmup("m")


def test_models_are_managed_by_names_with_slashes_and_colons(stub: Stub, client: InferenceClient) -> None:
    for verb in ("promote", "start", "stop?drain=true"):
        stub.on(f"POST /models/rl:a/b:job:1/{verb}", {"id": "rl:a/b:job:1", "accepted": verb})
    client.models.promote("rl:a/b:job:1")
    client.models.start("rl:a/b:job:1")
    client.models.stop("rl:a/b:job:1", drain=True)
    assert len(stub.asked) == 3


def test_status_has_the_variants_of_a_model(stub: Stub, client: InferenceClient) -> None:
    variants = [{"model": "m", "variant": "L4", "state": "ready", "num_queued": 2}, {"model": "n", "state": "cold"}]
    stub.on("GET /status", {"object": "status", "variants": variants})
    (variant,) = client.status().of("m")
    assert (variant.variant, variant.state, variant.num_queued) == ("L4", "ready", 2)


def test_errors_are_the_official_ones_with_the_code(stub: Stub, client: InferenceClient) -> None:
    stub.on("POST /chat/completions", error(404, "model_not_found", "No model is named x."))
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat("hi", model="x")
    assert caught.value.code == "model_not_found"


def test_a_request_that_failed_before_its_answer_is_tried_again(stub: Stub) -> None:
    busy = {"retry-after-ms": "1"}
    stub.on("POST /chat/completions", error(503, "circuit_open", "Try again.", **busy), completion("at last"))
    with InferenceClient(http_client=stub.client, max_retries=1) as client:
        assert client.chat("hi") == "at last"


@pytest.mark.parametrize("official", [True, False])
def test_a_stream_s_comments_reach_the_callback(stub: Stub, official: bool) -> None:
    comments = ["raymux scheduling waited_s=1 expected_s=9", "raymux starting step=loading waited_s=6 expected_s=4"]
    stub.on("POST /chat/completions", stream("a", before=comments))
    seen: list[ColdStart] = []
    with InferenceClient(http_client=stub.client, on_cold_start=seen.append) as client:
        if official:
            chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
            assert [chunk.choices[0].delta.content for chunk in chunks] == ["a"]
        else:
            assert list(client.chat("x", model="m", stream=True)) == ["a"]
    assert [(each.model, each.state, each.expected_s) for each in seen] == [
        ("m", "scheduling", 9),
        ("m", "starting", 4),
    ]


def test_a_whole_reply_is_watched_by_the_status(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    was_told = threading.Event()
    seen: list[ColdStart] = []

    def report(progress: ColdStart) -> None:
        seen.append(progress)
        was_told.set()

    def slow() -> dict[str, Any]:
        assert was_told.wait(10)
        return completion("done")

    class QuickWatch(cold_start.Watch):
        def __init__(self, look: Any, report: Any) -> None:
            super().__init__(look, report, after_s=0, every_s=0.001)

    monkeypatch.setattr("raymux.client.inference.Watch", QuickWatch)
    stub.on("POST /chat/completions", slow)
    stub.on("GET /models/m", {"id": "m", "parent": None})
    starting = {"model": "m", "variant": "L4", "state": "starting", "step": "loading", "expected_start_s": 30}
    stub.on("GET /status", {"object": "status", "variants": [starting]})
    with InferenceClient(http_client=stub.client, on_cold_start=report) as client:
        assert client.chat("x", model="m") == "done"
    assert (seen[0].model, seen[0].step) == ("m", "loading")


def test_options_of_a_copy_keep_the_callback(stub: Stub) -> None:
    seen: list[ColdStart] = []
    with InferenceClient("http://host/v1", http_client=stub.client, on_cold_start=seen.append) as client:
        copy = client.with_options(max_retries=5)
        assert (copy.on_cold_start, copy.max_retries) == (client.on_cold_start, 5)
        assert str(copy.base_url) == "http://host/v1/"
        assert client.with_options(on_cold_start=None).on_cold_start is None


def test_older_names_lead_to_the_same_client() -> None:
    assert BentoMLClient is InferenceClient
    with get_bentoml_client(base_url="http://host") as client:
        assert isinstance(client, raymux.InferenceClient)
        assert str(client.base_url) == "http://host/v1/"
