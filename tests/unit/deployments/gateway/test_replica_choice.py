"""Which replica a request through the gateway goes to."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.gateway import lookout
from deployments.gateway.exchange import Reply
from deployments.wire import Usage
from router.prefixes import Prefix
from tests.unit.builders import CHAT, EMBEDDER, report, settle
from tests.unit.deployments.gateway.conftest import GatewayUnderTest


def talk(name: str, num_turns: int) -> list[dict[str, Any]]:
    """A conversation of 2 kB a turn."""
    return [{"role": "user", "content": f"{name} {turn} " * 500} for turn in range(num_turns)]


def replicas(gateway: GatewayUnderTest) -> list[str]:
    return [call.replica for call in gateway.relay.calls]


async def test_a_conversation_goes_on_where_it_is_held_and_others_go_elsewhere(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))
    homes: dict[str, set[str]] = {}
    for turn in range(1, 5):
        for name in "abcd":
            await gateway.chat(messages=talk(name, turn))
            homes.setdefault(name, set()).add(replicas(gateway)[-1])
    assert all(len(home) == 1 for home in homes.values())
    assert {home.pop() for home in homes.values()} == {"r1", "r2"}


async def test_what_another_gateway_has_sent_counts_too(gateway: GatewayUnderTest) -> None:
    other = GatewayUnderTest()
    await settle()
    for each in (gateway, other):
        await each.publish(report("r1"), report("r2"), num_gateways=2)
    for name in "abcdefgh":
        await other.chat(messages=talk(name, 1))
    await other.publish(report("r1"), report("r2"), num_gateways=2)
    await settle()
    assert len(other.manager.told) == 8
    await gateway.publish(report("r1"), report("r2"), num_gateways=2, sent=other.manager.told)
    for name in "abcdefgh":
        await gateway.chat(messages=talk(name, 2))
    assert replicas(gateway) == replicas(other)
    await other.close()


async def test_one_replica_costs_no_hashing(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def prefix_of(*_: object) -> Prefix:
        raise AssertionError("hashed")

    monkeypatch.setattr(lookout, "prefix_of", prefix_of)
    await gateway.publish(report("r1"), report("r9", variant=f"{CHAT}@H100:4"))
    assert (await gateway.chat(messages=talk("a", 1))).status_code == 200
    # What makes no tokens has no prefix that an engine would keep.
    await gateway.publish(report("r1", variant=f"{EMBEDDER}@CPU"), report("r2", variant=f"{EMBEDDER}@CPU"))
    reply = await gateway.post("/v1/embeddings", json={"model": EMBEDDER, "input": "a" * 1000})
    assert reply.status_code == 200


async def test_an_operator_can_have_the_least_loaded_replica_chosen(gateway: GatewayUnderTest) -> None:
    gateway.settings = gateway.settings.model_copy(update={"replica_choice": "least_load"})
    await gateway.publish(report("r1"), report("r2"))
    for turn in range(1, 5):
        await gateway.chat(messages=talk("a", turn))
    assert replicas(gateway)[0] == replicas(gateway)[2] != replicas(gateway)[1] == replicas(gateway)[3]


async def test_a_full_replica_gets_no_conversation_while_another_has_room(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"))
    await gateway.chat(messages=talk("a", 1))
    home = replicas(gateway)[0]
    await gateway.publish(*[report(each, running=32 if each == home else 0) for each in ("r1", "r2")])
    await gateway.chat(messages=talk("a", 2))
    assert replicas(gateway)[1] != home


async def test_operators_see_what_is_expected_of_each_replica(gateway: GatewayUnderTest) -> None:
    async def counted(reply: Reply) -> None:
        gateway.relay.calls[-1].exchange.usage = Usage(1000, 1, cached_tokens=250)
        await reply.whole(200, {})

    await gateway.publish(report("r1"), report("r2"), report("r3"))
    gateway.relay.script = [counted] * 2
    for _ in range(2):
        await gateway.chat(messages=talk("a", 1))
    home = replicas(gateway)[0]
    status = (await gateway.get("/v1/status")).json()
    (variant,) = [each for each in status["variants"] if (each["model"], each["variant"]) == (CHAT, "CPU")]
    expected = {each["id"]: each["expected"] for each in variant["replicas"]}
    assert expected.pop(home) == {
        "wait_s": 0.0,
        "prefill_bytes_per_s": 20_000,
        "held_prefix_bytes": pytest.approx(2000, abs=300),
        "cached_ratio": pytest.approx(0.25, abs=0.01),
    }
    assert list(expected.values()) == [None, None]
