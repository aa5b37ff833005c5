from __future__ import annotations

import pytest

from deployments.manager.gossip import MAX_WAITING, SILENT_S, Gossip
from router.outlook import SentPrompt


def sent(replica_id: str = "r1", age_s: float = 0.0) -> SentPrompt:
    return SentPrompt("demo-chat@CPU", replica_id, age_s, 1.0, b"hash" * 4)


@pytest.fixture
def gossip() -> Gossip:
    gossip = Gossip()
    for gateway in ("a", "b", "c"):
        gossip.take(gateway, (), 0.0)
    return gossip


def test_what_a_gateway_sends_the_others_hear_once_and_it_does_not(gossip: Gossip) -> None:
    gossip.take("a", (sent("r1"), sent("r2")), 1.0)
    assert gossip.give("a", 1.0) == ()
    assert [each.replica_id for each in gossip.give("b", 1.0)] == ["r1", "r2"]
    assert gossip.give("b", 1.0) == ()
    assert len(gossip.give("c", 1.0)) == 2


def test_ages_grow_while_nobody_fetches(gossip: Gossip) -> None:
    gossip.take("a", (sent(age_s=0.25),), 1.0)
    assert gossip.give("b", 3.0)[0].age_s == 2.25


def test_a_gateway_that_is_gone_is_forgotten(gossip: Gossip) -> None:
    gossip.take("a", (), SILENT_S)
    gossip.take("b", (sent(),), SILENT_S + 1)
    assert gossip.num_gateways == 2
    assert gossip.give("c", SILENT_S + 1) == ()
    gossip.take("c", (), SILENT_S + 2)
    assert gossip.num_gateways == 3
    assert gossip.give("c", SILENT_S + 2) == ()


def test_a_gateway_that_does_not_fetch_costs_bounded_memory(gossip: Gossip) -> None:
    for number in range(2 * MAX_WAITING):
        gossip.take("a", (sent(f"r{number}"),), 1.0)
    told = gossip.give("b", 1.0)
    assert len(told) == MAX_WAITING
    assert told[-1].replica_id == f"r{2 * MAX_WAITING - 1}"


def test_who_has_no_name_is_no_gateway() -> None:
    gossip = Gossip()
    gossip.take("", (sent(),), 0.0)
    assert gossip.num_gateways == 0
    assert gossip.give("", 0.0) == ()
