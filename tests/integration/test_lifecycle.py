"""A model's life: cold, starting, ready, idle, failed, stopped."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.integration.calls import chat, error, lines, text
from tests.server import RunningServer, wait_gone


def test_a_cold_model_starts_answers_leaves_when_idle_and_comes_back(server: RunningServer) -> None:
    first = chat(server, "slow-start")
    assert first.status_code == 200, first.text
    status = server.wait_for_state("slow-start", "ready", 5)
    assert status["last_cold_start"]["steps_s"]["loading"] >= 3
    processes = server.replica_processes("slow-start")
    assert processes
    server.wait_for_state("slow-start", "cold", 30)
    wait_gone(processes, 15)
    status = server.wait_for("slow-start", lambda status: bool(status["decisions"]), 15, "tells why it left")
    last = status["decisions"][-1]
    assert (last["before"], last["after"], last["reason"]) == (1, 0, "idle for 3 s")
    again = chat(server, "slow-start")
    assert again.status_code == 200
    assert float(again.headers["x-raymux-cold-start-s"]) >= 3


def test_a_hundred_requests_to_a_cold_model_start_it_once(server: RunningServer) -> None:
    assert server.status("herd")["state"] == "cold"
    with ThreadPoolExecutor(100) as pool:
        replies = list(pool.map(lambda _: chat(server, "herd"), range(100)))
    assert {reply.status_code for reply in replies} == {200}
    assert len(server.status("herd")["replicas"]) == 1
    assert server.status("herd")["num_starts"] == 1


def test_a_stream_gets_comments_while_its_model_starts(server: RunningServer) -> None:
    server.wait_for_state("slow-start", "cold", 30)
    received = list(lines(server, "slow-start"))
    comments = [line for line in received if line.startswith(":")]
    assert any("starting step=loading" in comment for comment in comments)
    assert all(line.startswith((":", "data: ")) for line in received)
    assert text(received) == "one two three four five "
    assert received[-1] == "data: [DONE]"


def test_who_does_not_wait_gets_model_loading_and_the_model_starts_all_the_same(server: RunningServer) -> None:
    server.wait_for_state("slow-start", "cold", 30)
    begun_s = time.monotonic()
    reply = chat(server, "slow-start", headers={"x-raymux-no-wait": "true"})
    assert time.monotonic() - begun_s < 1
    assert (reply.status_code, error(reply)["code"]) == (503, "model_loading")
    assert 1 <= int(reply.headers["retry-after"]) <= 120
    server.wait_for_state("slow-start", "ready", 20)


def test_a_model_that_cannot_start_fails_its_waiters_with_the_reason_and_harms_no_other(server: RunningServer) -> None:
    chat(server, "fast")
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: chat(server, "broken"), range(10)))
        assert {reply.status_code for reply in replies} == {503}
        assert {error(reply)["code"] for reply in replies} == {"model_failed"}
        assert all("the weights are cursed" in error(reply)["message"] for reply in replies)
    begun_s = time.monotonic()
    assert error(chat(server, "broken"))["code"] == "model_failed"
    assert time.monotonic() - begun_s < 1, "during the backoff the answer must come at once"
    assert chat(server, "fast").status_code == 200
    status = server.wait_for_state("broken", "failed", 5)
    assert status["last_error"] == "the weights are cursed"


def test_a_failed_model_is_tried_again_after_its_backoff(server: RunningServer) -> None:
    chat(server, "broken")
    server.wait_for("broken", lambda status: status["retry_in_s"] == 0, 30)
    before = server.status("broken")["num_starts"]
    assert error(chat(server, "broken"))["code"] == "model_failed"
    server.wait_for("broken", lambda status: status["num_starts"] == before + 1, 5, "was tried once more")


def test_a_stopped_model_says_so_until_it_is_started(server: RunningServer) -> None:
    with server.client() as client:
        chat(server, "herd")
        assert client.post("/v1/models/herd/stop").status_code == 202
        server.wait_for_state("herd", "stopped", 30)
        refused = chat(server, "herd")
        assert (refused.status_code, error(refused)["code"]) == (503, "model_stopped")
        assert client.post("/v1/models/herd/start").status_code == 202
        server.wait_for_state("herd", "ready", 30)
        assert chat(server, "herd").status_code == 200


def test_a_checkpoint_without_auto_promote_waits_for_its_promotion(server: RunningServer) -> None:
    name = "rl:fast:run:step-1"
    refused = chat(server, name)
    assert (refused.status_code, error(refused)["code"]) == (409, "model_not_promoted")
    with server.client() as client:
        wrong = client.post("/v1/models/fast/promote")
        assert (wrong.status_code, error(wrong)["code"]) == (400, "invalid_request")
        assert client.post(f"/v1/models/{name}/promote").status_code == 202
    server.wait_for_state(name, "ready", 30)
    assert chat(server, "rl:fast:run").status_code == 200
