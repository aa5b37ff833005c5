"""A signed event of a training job becomes a model that answers, also when the manager dies in between."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from tests.integration.calls import CLIENT, WEBHOOK_SECRET, chat
from tests.integration.test_faults import serve_process
from tests.server import RunningServer, wait_until

NAME = "peft:fast:job_of_a_webhook"


def send(server: RunningServer, type_: str, **data: Any) -> dict[str, Any]:
    body = json.dumps({"type": type_, "data": data}).encode()
    signature = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    # A sender has no API key.
    sent = {"x-signature": f"sha256={signature}", "content-type": "application/json", "authorization": ""}
    reply = CLIENT.post(f"{server.url}/webhooks/ingest", content=body, headers=sent)
    assert reply.status_code == 202, reply.text
    return reply.json()


def outcomes(server: RunningServer) -> dict[str, str]:
    return {event["id"]: event["outcome"] for event in CLIENT.get(f"{server.url}/v1/webhooks").json()["data"]}


def test_an_event_registers_an_adapter_once_though_the_manager_is_killed(server: RunningServer) -> None:
    source = "models/adapters/job_pirate"
    manager = serve_process(server, "ModelManager")
    taken = send(server, "job.succeeded", base_model="fast", job_id="job_of_a_webhook", source=source)
    manager.kill()
    assert taken["status"] == "accepted"
    wait_until(lambda: chat(server, NAME).status_code == 200, 60, "the adapter answers")
    wait_until(lambda: outcomes(server).get(taken["id"]) == "done", 10, "it is noted")
    again = send(server, "job.succeeded", base_model="fast", job_id="job_of_a_webhook", source=source)
    assert again == {"id": taken["id"], "status": "duplicate"}
    removed = send(server, "model.deleted", model=NAME)
    wait_until(lambda: outcomes(server).get(removed["id"]) == "done", 10, "it is removed")
    wait_until(lambda: chat(server, NAME).status_code == 404, 10, "nobody has this name")
