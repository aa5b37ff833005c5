"""Warm-ups: a model is started ahead of its requests and kept, whatever happens meanwhile."""

from __future__ import annotations

import time
from typing import Any

import psutil

from tests.integration.calls import CLIENT, chat, error
from tests.server import RunningServer, describe, wait_until

# Its idle timeout is 3 s, its start takes as long.
MODEL = "slow-start"
IDLE_S = 3


def warm_up(server: RunningServer, **body: Any) -> dict[str, Any]:
    reply = CLIENT.post(f"{server.url}/v1/warmup", json={"model": MODEL, **body})
    assert reply.status_code in (200, 202), reply.text
    return reply.json()


def warmup(server: RunningServer, id: str) -> dict[str, Any]:
    return CLIENT.get(f"{server.url}/v1/warmup/{id}").json()


def end(server: RunningServer, id: str) -> None:
    assert CLIENT.delete(f"{server.url}/v1/warmup/{id}").status_code == 200


def stays_ready(server: RunningServer, seconds: float) -> None:
    """Watch the model for that long; every look must find it ready."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        assert server.status(MODEL)["state"] == "ready"
        time.sleep(0.2)


def test_a_warm_model_outlives_its_idle_timeout_and_then_leaves(server: RunningServer) -> None:
    server.wait_for_state(MODEL, "cold", 40)
    begun = warm_up(server, keep_warm_s=2 * IDLE_S + 2)
    assert (begun["state"], begun["gpu"]) == ("starting", "CPU")
    wait_until(lambda: warmup(server, begun["id"])["state"] == "ready", 30, "it is ready")
    assert warmup(server, begun["id"])["took_s"] >= 3
    stays_ready(server, 2 * IDLE_S)
    server.wait_for_state(MODEL, "cold", 30)
    assert warmup(server, begun["id"])["state"] == "ended"


def test_one_that_is_waited_for_needs_no_cold_start_afterwards(server: RunningServer) -> None:
    ready = warm_up(server, keep_warm_s=60, wait=True)
    assert ready["state"] == "ready"
    reply = chat(server, MODEL)
    assert reply.status_code == 200
    assert "x-raymux-cold-start-s" not in reply.headers
    end(server, ready["id"])
    server.wait_for_state(MODEL, "cold", 30)


def test_a_model_that_cannot_start_fails_its_warmup_with_the_reason(server: RunningServer) -> None:
    server.wait_for("broken", lambda status: not status["retry_in_s"], 30)
    reply = CLIENT.post(f"{server.url}/v1/warmup", json={"model": "broken", "keep_warm_s": 60, "wait": True})
    assert (reply.status_code, error(reply)["code"]) == (503, "model_failed")
    assert "the weights are cursed" in error(reply)["message"]


def test_a_replica_that_dies_under_a_warmup_is_replaced_without_a_request(server: RunningServer) -> None:
    ready = warm_up(server, keep_warm_s=120, wait=True)
    (pid,) = server.replica_pids(MODEL)
    psutil.Process(pid).kill()
    # One that is killed cannot say so, and is listed until it has been silent for 15 s.
    wait_until(lambda: server.replica_pids(MODEL) and pid not in server.replica_pids(MODEL), 60, "it is replaced")
    server.wait_for_state(MODEL, "ready", 30)
    stays_ready(server, 2 * IDLE_S)
    end(server, ready["id"])


def test_a_killed_manager_loses_no_warmup_and_no_warm_replica(server: RunningServer) -> None:
    ready = warm_up(server, keep_warm_s=120, wait=True)
    pids = server.replica_pids(MODEL)
    manager = server.serve_process("ModelManager")
    manager.kill()
    server.wait_for_another(manager, "ModelManager")
    server.wait_for_state(MODEL, "ready", 30)
    assert warmup(server, ready["id"]) == ready | {"expected_s": None}
    stays_ready(server, 2 * IDLE_S)
    assert server.replica_pids(MODEL) == pids
    end(server, ready["id"])
    server.wait_for_state(MODEL, "cold", 30)


def test_a_killed_controller_loses_no_warmup_and_no_stream(server: RunningServer) -> None:
    ready = warm_up(server, keep_warm_s=120, wait=True)
    pids = server.replica_pids(MODEL)
    (controller,) = [each for each in server.processes(None) if "ray::ServeController" in describe(each)]
    controller.kill()
    assert chat(server, MODEL, max_tokens=400).status_code == 200
    stays_ready(server, 2 * IDLE_S)
    assert server.replica_pids(MODEL) == pids
    end(server, ready["id"])
    server.wait_for_state(MODEL, "cold", 60)


def test_a_schedule_keeps_its_model_without_a_request_until_it_is_ended(server: RunningServer) -> None:
    server.wait_for_state("by-the-clock", "ready", 60)
    listed = CLIENT.get(f"{server.url}/v1/warmup").json()["data"]
    (scheduled,) = [entry for entry in listed if entry["model"] == "by-the-clock" and entry["state"] == "ready"]
    assert scheduled["scheduled"]
    CLIENT.delete(f"{server.url}/v1/warmup/{scheduled['id']}").raise_for_status()
    server.wait_for_state("by-the-clock", "cold", 60)
    assert chat(server, "by-the-clock").status_code == 200
