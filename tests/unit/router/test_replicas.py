from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.replicas import ReplicaReport, ReplicaState
from router.outlook import Estimate, Outlook
from router.prefixes import prefix_of
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
situations = {
    "fleet": fleets,
    "here": st.dictionaries(st.sampled_from(IDS), st.integers(0, 9)),
    "adapter": st.sampled_from([None, "a", "b"]),
    "excluded": st.sets(st.sampled_from(IDS)),
    "turn": st.integers(0, 10**6),
}


@given(**situations)
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


estimates = st.builds(
    Estimate,
    wait_s=st.floats(0, 1e6),
    prefill_s=st.floats(0, 1e6),
    adapter_s=st.floats(0, 100),
    held_bytes=st.integers(0, 10**6),
)


@given(
    **situations,
    by_id=st.fixed_dictionaries(dict.fromkeys(IDS, estimates)),
    max_ongoing=st.none() | st.integers(1, 9),
    max_adapters=st.integers(0, 2),
)
def test_with_estimates_the_choice_is_able_too_and_there_is_one_whenever_there_would_be_one_without(
    fleet: list[ReplicaReport],
    here: dict[str, int],
    adapter: str | None,
    excluded: set[str],
    turn: int,
    by_id: dict[str, Estimate],
    max_ongoing: int | None,
    max_adapters: int,
) -> None:
    chosen = choose_replica(
        fleet,
        here,
        adapter=adapter,
        excluded=excluded,
        turn=turn,
        estimate=lambda replica: by_id[replica.replica_id],
        max_ongoing=max_ongoing,
        max_adapters=max_adapters,
    )
    without = choose_replica(fleet, here, adapter=adapter, excluded=excluded, turn=turn)
    if without is None:
        assert chosen is None
        return
    assert chosen is not None
    assert chosen.state is ReplicaState.READY
    assert chosen.replica_id not in excluded
    assert adapter is None or adapter in chosen.adapters or max_adapters > len(chosen.busy_adapters)


def of(**waits_s: float) -> dict[str, Estimate]:
    return {replica_id: Estimate(wait_s, 1.0, 0.0, 0) for replica_id, wait_s in waits_s.items()}


def chosen_of(by_id: dict[str, Estimate], *fleet: ReplicaReport, here: dict[str, int] | None = None, **rules) -> str:
    replicas = fleet or [report(replica_id) for replica_id in by_id]
    return choose_replica(replicas, here or {}, estimate=lambda replica: by_id[replica.replica_id], **rules).replica_id


def test_the_answer_that_should_begin_first_wins_over_the_replica_with_less_work() -> None:
    assert chosen_of(of(r1=9.0, r2=3.0), here={"r2": 5}) == "r2"


def test_among_replicas_that_are_alike_the_least_loaded_one_is_taken() -> None:
    assert chosen_of(of(r1=1.0, r2=1.01), here={"r1": 1}) == "r2"
    assert {chosen_of(of(r1=1.0, r2=1.01), turn=turn) for turn in range(2)} == {"r1", "r2"}


def test_a_full_replica_counts_only_where_all_are_full() -> None:
    assert chosen_of(of(r1=0.0, r2=50.0), here={"r1": 4}, max_ongoing=4) == "r2"
    assert chosen_of(of(r1=0.0, r2=50.0), here={"r1": 4, "r2": 4}, max_ongoing=4) == "r1"


@pytest.mark.parametrize(("load_s", "taken"), [(1.0, "r2"), (20.0, "r1")])
def test_loading_an_adapter_competes_with_waiting_for_one_that_has_it(load_s: float, taken: str) -> None:
    by_id = {"r1": Estimate(10.0, 1.0, 0.0, 0), "r2": Estimate(0.0, 1.0, load_s, 0)}
    fleet = [report("r1", adapters=("a",)), report("r2")]
    assert chosen_of(by_id, *fleet, adapter="a", max_adapters=2) == taken
    # There is no room for one more where all that it holds are in use.
    fleet[1] = report("r2", adapters=("b", "c"), busy_adapters=("b", "c"))
    assert chosen_of(by_id, *fleet, adapter="a", max_adapters=2) == "r1"


def test_with_one_replica_nothing_is_estimated() -> None:
    def estimate(replica: ReplicaReport) -> Estimate:
        raise AssertionError("nothing to choose")

    fleet = [report("r1"), report("r2", ReplicaState.DRAINING)]
    assert choose_replica(fleet, {}, estimate=estimate).replica_id == "r1"


def spread(num_gateways: int, num_requests: int, num_replicas: int, *, is_told: bool, prompt: str) -> list[int]:
    """How many of requests that come at once each replica gets, while its report says that it is idle."""
    outlooks = [Outlook() for _ in range(num_gateways)]
    fleet = [report(f"r{number}") for number in range(num_replicas)]
    here = [Counter() for _ in outlooks]
    total = Counter({replica.replica_id: 0 for replica in fleet})
    for number in range(num_requests):
        gateway = number % num_gateways
        prefix = prefix_of({"prompt": prompt.format(number) * 1000})
        chosen = choose_replica(
            fleet,
            here[gateway],
            # Gateways begin to count anywhere.
            turn=number // num_gateways + 7 * gateway,
            estimate=lambda replica, gateway=gateway, prefix=prefix: outlooks[gateway].estimate(replica, prefix, 0.0),
        )
        place = outlooks[gateway].sent(chosen, prefix, 0.0)
        here[gateway][chosen.replica_id] += 1
        total[chosen.replica_id] += 1
        if is_told:
            for other in outlooks:
                if other is not outlooks[gateway]:
                    other.told(chosen, place.as_sent(0.0), 0.0)
    return sorted(total.values())


@pytest.mark.parametrize("num_gateways", [1, 2, 4, 8])
@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("prompt", ["request {:06d} ", "the same words "])
def test_gateways_with_stale_reports_do_not_herd(num_gateways: int, is_told: bool, prompt: str) -> None:
    num_requests, num_replicas = 160, 4
    counts = spread(num_gateways, num_requests, num_replicas, is_told=is_told, prompt=prompt)
    assert counts[-1] <= 1.5 * num_requests / num_replicas
    assert counts[0] >= 0.5 * num_requests / num_replicas


def test_turns_of_a_conversation_go_where_it_is_held_and_new_ones_elsewhere() -> None:
    outlook, fleet = Outlook(), [report(f"r{number}") for number in range(4)]
    homes: dict[int, set[str]] = {}
    for step in range(80):
        turn, conversation = divmod(step, 8)
        prefix = prefix_of({"prompt": f"conversation {conversation} " * 500 * (turn + 1)})
        chosen = choose_replica(
            fleet,
            {},
            turn=step,
            estimate=lambda replica, prefix=prefix, now_s=5.0 * step: outlook.estimate(replica, prefix, now_s),
        )
        place = outlook.sent(chosen, prefix, 5.0 * step)
        outlook.first_token(place, 5.0 * step + place.ticket.service_s)
        homes.setdefault(conversation, set()).add(chosen.replica_id)
    assert all(len(home) == 1 for home in homes.values())
    assert {home.pop() for home in homes.values()} == {"r0", "r1", "r2", "r3"}


def test_a_replica_that_hangs_is_left_alone_although_it_holds_the_conversation() -> None:
    outlook, fleet = Outlook(), [report("r1"), report("r2")]
    prefix = prefix_of({"prompt": "a long talk " * 5000})
    outlook.sent(fleet[0], prefix, 0.0)
    late_s = 60.0
    chosen = choose_replica(
        [replace(each, sent_at_s=late_s) for each in fleet], {}, estimate=lambda r: outlook.estimate(r, prefix, late_s)
    )
    assert chosen.replica_id == "r2"
