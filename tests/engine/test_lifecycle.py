"""Models come and go: cold starts, scale to zero, checkpoints, and engines that die."""

from __future__ import annotations

import concurrent.futures
import re
import time

import httpx
import psutil
import pytest

from tests.conformance.openai_schema import ERROR, validate
from tests.engine.chats import ask, chat_body, data_of, likeness, stream_text
from tests.engine_server import (
    BRIEF,
    BRIEF_IDLE_S,
    CHAT,
    CHECKPOINT,
    LATEST_CHECKPOINT,
    PIRATE,
    VANISHED,
)
from tests.server import RunningServer, describe, wait_gone

WORKING = "Say 'Hello, I am working!' and nothing else."
LONG = {"max_tokens": 1800, "ignore_eos": True, "stream": True}
# How long the idle replica may outstay its time: the autoscaler's and the drain's own steps.
LEAVING_S = 25


def error_of(reply: httpx.Response) -> dict:
    validate(ERROR, reply.json())
    return reply.json()["error"]


def test_cold_model_is_told_about_streamed_from_and_counted(engine_server: RunningServer, http: httpx.Client):
    """One cold start, seen by a client that will not wait, by one that streams, and by an operator."""
    assert engine_server.status(BRIEF)["state"] == "cold"

    begun_s = time.perf_counter()
    reply = http.post("/v1/chat/completions", json=chat_body(BRIEF, WORKING), headers={"X-Raymux-No-Wait": "true"})
    assert time.perf_counter() - begun_s < 1
    assert reply.status_code == 503
    assert error_of(reply)["code"] == "model_loading"
    assert 1 <= int(reply.headers["retry-after"]) <= 120

    engine_server.wait_for(BRIEF, lambda status: status["state"] in ("scheduling", "starting"), 5, "starts")
    with http.stream("POST", "/v1/chat/completions", json=chat_body(BRIEF, WORKING, stream=True)) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    comments = [line for line in lines if line.startswith(":")]
    assert comments, "a stream that waits gets comments"
    assert any("starting" in line for line in comments)
    assert all(re.search(r"expected_s=\d+", line) for line in comments)
    assert "raymux {" not in "".join(lines), "the trailer stays inside"
    first_data = next(index for index, line in enumerate(lines) if line.startswith("data: "))
    assert not any(line.startswith(":") for line in lines[first_data:]), "comments end when the answer begins"
    assert lines[-1] == "data: [DONE]"
    assert stream_text(data_of(lines)).strip()

    status = engine_server.status(BRIEF)
    assert status["state"] == "ready"
    assert len(status["replicas"]) == 1
    start = status["last_cold_start"]
    assert set(start["steps_s"]) == {"scheduling", "importing", "loading", "warming_up"}
    assert sum(start["steps_s"].values()) == pytest.approx(start["total_s"], rel=0.2, abs=1)
    print(f"\ncold start: {start['total_s']:.1f} s, {start['steps_s']}")


def pool_of(server: RunningServer, model: str) -> psutil.Process | None:
    """The process with vLLM imported in which the model's replica began, unless that has ended."""
    (pid,) = server.replica_pids(model)
    parent = psutil.Process(pid).parent()
    return parent if parent is not None and "raymux::pool" in describe(parent) else None


def test_idle_model_leaves_and_comes_back_once_for_many(engine_server: RunningServer, http: httpx.Client):
    ask(http, BRIEF, WORKING)
    processes = engine_server.replica_processes(BRIEF)
    assert any("EngineCore" in describe(process) for process in processes)
    begun_s = time.perf_counter()
    engine_server.wait_for_state(BRIEF, "cold", BRIEF_IDLE_S + LEAVING_S)
    wait_gone(processes, 10)
    took_s = time.perf_counter() - begun_s
    print(f"\nscaled to zero {took_s:.1f} s after the last request (idle timeout {BRIEF_IDLE_S} s)")
    assert took_s > BRIEF_IDLE_S - 2

    body = chat_body(BRIEF, WORKING)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(http.post, "/v1/chat/completions", json=body) for _ in range(20)]
        status = engine_server.wait_for_state(BRIEF, "ready")
        assert len(status["replicas"]) == 1
        replies = [each.result() for each in waiting]
    assert {reply.status_code for reply in replies} == {200}
    assert all(float(reply.headers["x-raymux-cold-start-s"]) > 0 for reply in replies)
    assert len({reply.json()["choices"][0]["message"]["content"] for reply in replies}) <= 2
    assert engine_server.replica_pids(BRIEF) == [replica["pid"] for replica in status["replicas"]]
    # Its place is needed by the next tests.
    engine_server.wait_for_state(BRIEF, "cold", BRIEF_IDLE_S + LEAVING_S)


def test_model_that_cannot_start_fails_with_the_reason_and_harms_no_other(
    engine_server: RunningServer, http: httpx.Client
):
    before = engine_server.replica_processes(CHAT)
    begun_s = time.perf_counter()
    reply = http.post("/v1/chat/completions", json=chat_body(VANISHED, WORKING))
    took_s = time.perf_counter() - begun_s
    assert reply.status_code == 503
    error = error_of(reply)
    assert error["code"] == "model_failed"
    assert VANISHED in error["message"]
    assert 1 <= int(reply.headers["retry-after"]) <= 120
    assert not re.search(r"/\w+/\w+", error["message"]), "no path in an error"
    print(f"\na start that cannot be took {took_s:.1f} s to fail: {error['message']}")
    assert took_s < 30
    status = engine_server.wait_for_state(VANISHED, "failed", 5)
    assert status["last_error"]
    assert ask(http, CHAT, WORKING)
    assert engine_server.replica_processes(CHAT) == before


def test_checkpoint_answers_by_its_name_and_by_its_jobs(engine_server: RunningServer, http: httpx.Client):
    # Another test may have left it warm.
    assert http.post(f"/v1/models/{CHECKPOINT}/stop?drain=true").status_code == 202
    engine_server.wait_for_state(CHECKPOINT, "stopped", 60)
    assert http.post(f"/v1/models/{CHECKPOINT}/start").status_code == 202
    first = http.post("/v1/chat/completions", json=chat_body(CHECKPOINT, WORKING))
    assert first.status_code == 200, first.text
    assert first.headers["x-raymux-model"] == CHECKPOINT
    assert float(first.headers["x-raymux-cold-start-s"]) > 0
    assert first.json()["choices"][0]["message"]["content"].strip()
    prompts = [WORKING, "What is 2+2?", "Tell me a joke.", "What is the capital of France?"]
    by_name = [ask(http, CHECKPOINT, prompt) for prompt in prompts]
    by_job = [ask(http, LATEST_CHECKPOINT, prompt) for prompt in prompts]
    base = [ask(http, CHAT, prompt) for prompt in prompts]
    assert by_name == by_job
    assert by_name != base, "the checkpoint has weights of its own"
    # A deployment of its own beside the base model's.
    assert set(engine_server.replica_pids(CHECKPOINT)).isdisjoint(engine_server.replica_pids(CHAT))


def test_engine_that_is_killed_leaves_at_once_and_comes_back(engine_server: RunningServer, http: httpx.Client):
    answer = ask(http, CHECKPOINT, WORKING)
    old = engine_server.replica_processes(CHECKPOINT)
    others = engine_server.replica_processes(CHAT)
    (core,) = engine_server.engine_cores(CHECKPOINT)
    pool = pool_of(engine_server, CHECKPOINT)
    assert pool is not None, "a replica on the CPU begins with vLLM imported"
    # Nothing that it has forked may need it, and another one takes its place.
    pool.kill()

    with http.stream("POST", "/v1/chat/completions", json=chat_body(CHECKPOINT, WORKING, **LONG)) as stream:
        lines = stream.iter_lines()
        next(line for line in lines if line.startswith("data: "))
        killed_s = time.perf_counter()
        core.kill()
        rest = [line for line in lines if line]
    cut_s = time.perf_counter() - killed_s
    assert "data: [DONE]" not in rest
    validate(ERROR, data_of(rest)[-1])

    engine_server.wait_for(CHECKPOINT, lambda status: status["state"] != "ready", 10, "has left")
    left_s = time.perf_counter() - killed_s
    print(f"\nengine killed: its stream ended after {cut_s:.2f} s, its replica left after {left_s:.2f} s")
    # Serve's health checks would take three periods of 2 s.
    assert left_s < 4
    for model in (CHAT, PIRATE):
        assert ask(http, model, WORKING)

    begun_s = time.perf_counter()
    assert likeness(ask(http, CHECKPOINT, WORKING), answer) > 0.5
    print(f"the next request was answered {time.perf_counter() - begun_s:.1f} s later")
    wait_gone(old, 15)
    assert engine_server.replica_processes(CHAT) == others
    assert pool_of(engine_server, CHECKPOINT) != pool
    assert not {process.pid for process in old} & set(engine_server.replica_pids(CHECKPOINT))
