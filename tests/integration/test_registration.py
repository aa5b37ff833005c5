"""Models, adapters and checkpoints that are registered at run time."""

from __future__ import annotations

from typing import Any

import httpx

from tests.integration.calls import CLIENT, chat, error, lines
from tests.server import RunningServer

ADAPTER = {"name": "peft:fast:registered", "source": "models/adapters/job_formal"}
BASE = {
    "name": "registered-base",
    "source": "models/demo-chat",
    "variants": [{"shape": "CPU", "num_cpus": 0}],
    "engine": {"kind": "emulated"},
}


def register(server: RunningServer, fields: dict[str, Any]) -> httpx.Response:
    return CLIENT.post(f"{server.url}/v1/models", json=fields)


def delete(server: RunningServer, name: str) -> httpx.Response:
    return CLIENT.delete(f"{server.url}/v1/models/{name}")


def test_a_registered_adapter_answers_at_once_and_no_more_when_it_is_deleted(server: RunningServer) -> None:
    chat(server, "fast")
    pids = server.replica_pids("fast")
    reply = register(server, ADAPTER)
    assert reply.status_code == 201, reply.text
    assert (reply.json()["kind"], reply.json()["parent"]) == ("adapter", "fast")
    assert chat(server, ADAPTER["name"]).json()["model"] == ADAPTER["name"]
    assert server.replica_pids("fast") == pids
    assert delete(server, ADAPTER["name"]).json()["deleted"]
    assert error(chat(server, ADAPTER["name"]))["code"] == "model_not_found"


def test_what_is_registered_survives_a_killed_manager(server: RunningServer) -> None:
    assert register(server, ADAPTER).status_code == 201
    manager = server.serve_process("ModelManager")
    manager.kill()
    server.wait_for_another(manager, "ModelManager")
    server.wait_for_state("fast", "ready", 30)
    assert chat(server, ADAPTER["name"]).status_code == 200
    assert delete(server, ADAPTER["name"]).status_code == 200


def test_a_registered_model_is_not_deleted_or_stopped_under_its_requests(server: RunningServer) -> None:
    assert register(server, BASE).status_code == 201
    name = BASE["name"]
    stream = lines(server, name, max_tokens=2_000)
    next(stream)
    server.wait_for(name, lambda status: status["num_running"] == 1, 10)
    for refused in (delete(server, name), CLIENT.post(f"{server.url}/v1/models/{name}/stop")):
        assert (refused.status_code, error(refused)["code"]) == (409, "model_in_use")
    assert server.status(name)["state"] == "ready"
    assert CLIENT.post(f"{server.url}/v1/models/{name}/stop?drain=true").status_code == 202
    assert list(stream)[-1] == "data: [DONE]"
    server.wait_for_state(name, "stopped", 30)
    assert delete(server, name).status_code == 200
    assert all(variant["model"] != name for variant in server.variants())


def test_a_registration_that_cannot_be_served_changes_nothing(server: RunningServer) -> None:
    before = CLIENT.get(f"{server.url}/v1/models").json()
    refusals = {
        "permission_denied": {**ADAPTER, "source": "/etc"},
        "model_exists": {**ADAPTER, "name": "peft:fast:a"},
        "invalid_request": {**ADAPTER, "name": "peft:nobody:job"},
    }
    for code, fields in refusals.items():
        assert error(register(server, fields))["code"] == code
    assert CLIENT.get(f"{server.url}/v1/models").json() == before
