from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from catalog.replicas import ReplicaReport, ReplicaState
from router.replicas import choose_replica
from tests.unit.builders import report

IDS = [f"r{number}" for number in range(6)]
reports = st.builds(
    lambda replica_id, state, running, waiting, adapters: report(
        replica_id, state, running=running, waiting=waiting, adapters=tuple(adapters)
    ),
    st.sampled_from(IDS),
    # Mostly ready, so that there is something to choose from.
    st.sampled_from([*ReplicaState, *[ReplicaState.READY] * 10]),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sets(st.sampled_from(["a", "b"])),
)
fleets = st.lists(reports, max_size=6, unique_by=lambda replica: replica.replica_id)
loads_here = st.dictionaries(st.sampled_from(IDS), st.integers(0, 9))


@given(
    fleet=fleets,
    here=loads_here,
    adapter=st.sampled_from([None, "a", "b"]),
    excluded=st.sets(st.sampled_from(IDS)),
    turn=st.integers(0, 10**6),
)
def test_the_choice_is_able_and_least_loaded_and_there_is_one_whenever_one_is_able(
    fleet: list[ReplicaReport], here: dict[str, int], adapter: str | None, excluded: set[str], turn: int
) -> None:
    able = [
        replica
        for replica in fleet
        if replica.state is ReplicaState.READY
        and replica.replica_id not in excluded
        and (adapter is None or adapter in replica.adapters)
    ]
    chosen = choose_replica(fleet, here, adapter=adapter, excluded=excluded, turn=turn)
    if not able:
        assert chosen is None
        return
    assert chosen in able

    def load(replica: ReplicaReport) -> int:
        return max(replica.running + replica.waiting, here.get(replica.replica_id, 0))

    assert load(chosen) == min(map(load, able))


@given(num_replicas=st.integers(1, 6), num_requests=st.integers(0, 60))
def test_turns_spread_equal_replicas_evenly(num_replicas: int, num_requests: int) -> None:
    fleet = [report(replica_id) for replica_id in IDS[:num_replicas]]
    chosen = Counter(choose_replica(fleet, {}, turn=turn).replica_id for turn in range(num_requests))
    counts = [chosen[replica_id] for replica_id in IDS[:num_replicas]]
    assert max(counts) - min(counts) <= 1


def test_only_a_ready_replica_gets_requests() -> None:
    for state in set(ReplicaState) - {ReplicaState.READY}:
        assert choose_replica([report(state=state)], {}) is None


def test_queued_requests_are_load_too() -> None:
    fleet = [report("r1", running=1, waiting=5), report("r2", running=3)]
    assert choose_replica(fleet, {}).replica_id == "r2"


def test_a_stale_report_of_an_idle_replica_does_not_draw_everything_there() -> None:
    fleet = [report("r1", running=0), report("r2", running=3)]
    assert choose_replica(fleet, {"r1": 4}).replica_id == "r2"


def test_a_replica_without_the_adapter_is_no_choice() -> None:
    fleet = [report("r1"), report("r2", running=9, adapters=("a",))]
    assert choose_replica(fleet, {}, adapter="a").replica_id == "r2"
    assert choose_replica(fleet, {}, adapter="A") is None
