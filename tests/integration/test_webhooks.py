"""Signed events, in and out, also when the manager dies in between.

One of a training job becomes a model that answers; what becomes of a model is told, once and in order.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from tests.integration.calls import CLIENT, WEBHOOK_SECRET, chat
from tests.server import RunningServer, wait_until
from tests.webhook_receiver import WebhookReceiver

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
    manager = server.serve_process("ModelManager")
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


def sent(server: RunningServer) -> list[dict[str, Any]]:
    """What receivers were told or are to be told, newest first."""
    return CLIENT.get(f"{server.url}/v1/webhooks/sent").json()["data"]


def restart(server: RunningServer, model: str) -> None:
    """Stop a model and start it, which is told as soon as it is ready."""
    assert CLIENT.post(f"{server.url}/v1/models/{model}/stop?drain=true").status_code == 202
    server.wait_for_state(model, "stopped", 30)
    assert CLIENT.post(f"{server.url}/v1/models/{model}/start").status_code == 202
    server.wait_for_state(model, "ready", 30)


def restart_and_be_told(server: RunningServer, receiver: WebhookReceiver, model: str) -> None:
    num_told = len(receiver.told(model))
    restart(server, model)
    wait_until(lambda: len(receiver.told(model)) == num_told + 1, 5, "the receiver is told at once")


def test_a_receiver_is_told_that_a_model_is_ready_and_that_it_scaled_to_zero_once_and_in_order(
    server: RunningServer, receiver: WebhookReceiver
) -> None:
    server.wait_for_state("slow-start", "cold", 40)
    wait_until(lambda: receiver.told("slow-start")[-1:] != ["model.ready"], 30, "it is told what was before")
    before = len(receiver.told("slow-start"))
    assert chat(server, "slow-start").status_code == 200
    wait_until(lambda: len(receiver.told("slow-start")) == before + 2, 60, "two events")
    assert receiver.told("slow-start")[before:] == ["model.ready", "model.scaled_to_zero"]
    ready, gone = [event for event in receiver.events if event["data"]["model"] == "slow-start"][before:]
    assert (ready["data"], gone["data"]) == ({"model": "slow-start", "gpu": "CPU"}, {"model": "slow-start"})
    assert ready["timestamp"] < gone["timestamp"]
    assert len({event["id"] for event in receiver.events}) == len(receiver.events)


def test_a_model_that_cannot_start_is_told_once_with_the_reason(
    server: RunningServer, receiver: WebhookReceiver
) -> None:
    def fail() -> None:
        server.wait_for("broken", lambda status: not status["retry_in_s"], 40)
        assert chat(server, "broken").status_code == 503

    counts: list[int] = []
    for _ in range(2):
        fail()
        # Events come in order, so whatever is told of the failure has been told by then.
        restart_and_be_told(server, receiver, "herd")
        counts.append(len(receiver.told("broken")))
    assert counts[0] == counts[1] > 0
    failed = next(event for event in receiver.events if event["data"]["model"] == "broken")
    assert failed["type"] == "model.failed"
    assert failed["data"] == {"model": "broken", "gpu": "CPU", "reason": "the weights are cursed"}


def test_an_event_for_a_receiver_that_is_down_arrives_once_though_the_manager_is_killed(
    server: RunningServer, receiver: WebhookReceiver
) -> None:
    assert chat(server, "fast").status_code == 200
    wait_until(lambda: receiver.told("fast")[-1:] == ["model.ready"], 10, "it is told what was before")
    before, of_fast = receiver.told("herd"), receiver.told("fast")
    receiver.stop()
    restart(server, "herd")

    def waiting() -> list[str]:
        mine = [each for each in sent(server) if each["receiver"] == receiver.url]
        return [each["id"] for each in mine if each["outcome"] == "pending" and each["attempts"]]

    wait_until(lambda: len(waiting()) == 1, 10, "it was tried")
    (id,) = waiting()
    manager = server.serve_process("ModelManager")
    manager.kill()
    server.wait_for_another(manager, "ModelManager", 30)
    receiver.start()
    wait_until(lambda: len(receiver.told("herd")) > len(before), 60, "it is told")
    wait_until(lambda: not waiting(), 10, "nothing is left to be told")
    restart(server, "herd")
    wait_until(lambda: len(receiver.told("herd")) > len(before) + 1, 20, "it is told again")
    assert receiver.told("herd") == [*before, "model.ready", "model.ready"]
    assert [event["id"] for event in receiver.events].count(id) == 1
    assert receiver.told("fast") == of_fast, "what was told before the restart is not told again"


def test_a_receiver_that_hangs_has_held_up_nothing(
    server: RunningServer, receiver: WebhookReceiver, hung_receiver: WebhookReceiver
) -> None:
    wait_until(lambda: bool(hung_receiver.requests), 20, "it was tried")
    assert hung_receiver.events == []
    for _ in range(2):
        restart_and_be_told(server, receiver, "herd")
