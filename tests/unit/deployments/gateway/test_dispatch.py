"""Attempts: what is tried elsewhere, what is left alone, and what ends a wait for a replica that hangs."""

from __future__ import annotations

import asyncio

import pytest

from catalog.errors import InvalidRequest, UpstreamError
from deployments.gateway import watchdog
from deployments.gateway.exchange import Reply
from deployments.gateway.relay import ReplicaDraining, ReplicaGone
from router.retries import RESERVE
from tests.unit.builders import CHAT, report, settle, until
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

BROKEN = UpstreamError("The engine failed to answer this request; try again.")


async def hang(reply: Reply) -> None:
    await asyncio.Event().wait()


async def hang_after_a_byte(reply: Reply) -> None:
    await reply.begin(200, b"text/event-stream")
    await reply.write(b"data: 1\n\n")
    await asyncio.Event().wait()


def replicas(gateway: GatewayUnderTest) -> list[str]:
    return [call.replica for call in gateway.relay.calls]


async def test_a_replica_that_fails_again_and_again_is_left_alone_then_probed_by_one(
    gateway: GatewayUnderTest,
) -> None:
    await gateway.publish(report("r1"))
    gateway.relay.script = [BROKEN] * 5
    codes = [(await gateway.chat()).status_code for _ in range(5)]
    assert codes == [502] * 5
    refused = await gateway.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "circuit_open")
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert len(gateway.relay.calls) == 5
    gateway.now_s += 5
    gateway.relay.script = [hang]
    probe = asyncio.create_task(gateway.chat())
    await until(lambda: len(gateway.relay.calls) == 6)
    assert (await gateway.chat()).json()["error"]["code"] == "circuit_open"
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert (await gateway.chat()).status_code == 200
    assert (await gateway.chat()).status_code == 200


async def test_with_one_replica_broken_the_other_one_serves(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))

    async def by_replica(reply: Reply) -> None:
        if gateway.relay.calls[-1].replica == "r1":
            raise BROKEN
        await reply.whole(200, {})

    gateway.relay.script = [by_replica] * 100
    codes = [(await gateway.chat()).status_code for _ in range(40)]
    assert codes.count(502) == 5
    assert codes[-20:] == [200] * 20


@pytest.mark.parametrize("refusal", [InvalidRequest("no"), ReplicaDraining()])
async def test_refusals_open_no_circuit(gateway: GatewayUnderTest, refusal: Exception) -> None:
    for _ in range(20):
        await gateway.publish(report("r1"))
        gateway.manager.on_ensure = lambda *_: asyncio.sleep(0, UpstreamError("none"))  # type: ignore[assignment]
        gateway.relay.script = [refusal]
        await gateway.chat()
    await gateway.publish(report("r1"))
    assert (await gateway.chat()).status_code == 200


async def test_a_request_that_broke_two_replicas_off_gets_no_third(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"), report("r3"))
    gateway.relay.script = [ReplicaGone(was_sent=True)] * 3
    assert (await gateway.chat()).status_code == 502
    assert len(set(replicas(gateway))) == 2


async def test_a_request_that_no_replica_has_seen_is_tried_again_until_one_does(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"), report("r3"))
    gateway.relay.script = [ReplicaGone(), ReplicaGone()]
    assert (await gateway.chat()).status_code == 200
    assert len(set(replicas(gateway))) == 3


async def test_retries_are_a_share_of_all_requests(gateway: GatewayUnderTest) -> None:
    num_requests = 400
    for _ in range(num_requests):
        await gateway.publish(report("r1", sent_at_s=2e9), report("r2", sent_at_s=2e9))
        gateway.services.dispatcher._breakers._breakers.clear()
        gateway.relay.script = [ReplicaGone(was_sent=True)] * 2
        await gateway.chat()
    assert len(gateway.relay.calls) - num_requests < RESERVE + 0.35 * num_requests


async def test_a_replica_that_the_manager_has_given_up_loses_its_waiting_requests_to_another(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "GIVE_UP_AFTER_S", 0)
    await gateway.publish(report("hung"))
    gateway.relay.script = [hang]
    waiting = asyncio.create_task(gateway.chat())
    await until(lambda: gateway.relay.calls)
    await gateway.publish(report("other"))
    assert (await waiting).status_code == 200
    assert replicas(gateway) == ["hung", "other"]


async def test_a_manager_that_was_away_for_a_moment_costs_no_request(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "GIVE_UP_AFTER_S", 0.05)
    await gateway.publish(report("r1"))
    answer = asyncio.Event()

    async def slow(reply: Reply) -> None:
        await answer.wait()
        await reply.whole(200, {})

    gateway.relay.script = [slow]
    waiting = asyncio.create_task(gateway.chat())
    await until(lambda: gateway.relay.calls)
    await gateway.publish()
    await gateway.publish(report("r1"))
    await asyncio.sleep(0.1)
    answer.set()
    assert (await waiting).status_code == 200
    assert len(gateway.relay.calls) == 1


async def test_a_stream_whose_replica_falls_silent_ends_in_one_error(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "GIVE_UP_AFTER_S", 0)
    await gateway.publish(report("hung"))
    gateway.relay.script = [hang_after_a_byte]
    waiting = asyncio.create_task(gateway.chat(stream=True))
    await until(lambda: gateway.relay.calls)
    await settle()
    await gateway.publish(report("other"))
    reply = await waiting
    assert reply.text.startswith("data: 1\n\n")
    assert reply.text.count('"error"') == 1
    assert "upstream_error" in reply.text
    assert "[DONE]" not in reply.text


async def test_a_stream_whose_first_token_takes_too_long_is_tried_elsewhere_and_its_replica_left_alone(
    gateway: GatewayUnderTest,
) -> None:
    gateway.settings = gateway.settings.model_copy(update={"first_token_timeout_s": 0.02})
    await gateway.publish(report("r1"), report("r2"))
    gateway.relay.script = [hang]
    assert (await gateway.chat(stream=True)).status_code == 200
    hung, other = replicas(gateway)
    assert hung != other
    # Its next report does not bring it back before the circuit does.
    await gateway.publish(report("r1", sent_at_s=2e9), report("r2", sent_at_s=2e9))
    for _ in range(4):
        await gateway.chat()
    assert set(replicas(gateway)[2:]) == {other}


async def test_a_whole_reply_may_take_its_time(gateway: GatewayUnderTest) -> None:
    gateway.settings = gateway.settings.model_copy(update={"first_token_timeout_s": 0.01})
    await gateway.publish(report("r1"))

    async def slow(reply: Reply) -> None:
        await asyncio.sleep(0.05)
        await reply.whole(200, {"model": CHAT})

    gateway.relay.script = [slow]
    assert (await gateway.chat()).status_code == 200
