"""Which replicas are counted on, by when they were heard: the clocks of their nodes may be off."""

from __future__ import annotations

import pytest

from catalog.replicas import ReplicaState
from deployments.manager.roster import HUNG_AFTER_S, LEFT_KEPT_S, SILENT_AFTER_S, STARTING_SILENT_AFTER_S, Roster
from tests.unit.builders import report

START_S = 1_000.0


@pytest.fixture
def roster() -> Roster:
    roster = Roster()
    roster.take(report("r1", sent_at_s=5.0), START_S)
    roster.take(report("starting", ReplicaState.STARTING, sent_at_s=5.0), START_S)
    return roster


def test_an_older_report_changes_nothing(roster: Roster) -> None:
    assert not roster.take(report("r1", ReplicaState.DRAINING, sent_at_s=4.0), START_S + 1)
    assert roster.reports["r1"].state is ReplicaState.READY


def test_a_silent_replica_is_dropped_and_one_that_starts_later(roster: Roster) -> None:
    assert not roster.drop_silent(START_S + SILENT_AFTER_S)
    assert roster.drop_silent(START_S + SILENT_AFTER_S + 0.1)
    assert set(roster.reports) == {"starting"}
    assert roster.drop_silent(START_S + STARTING_SILENT_AFTER_S + 0.1)
    assert roster.reports == {}


def test_one_that_stays_silent_hangs_and_is_named_once(roster: Roster) -> None:
    roster.drop_silent(START_S + SILENT_AFTER_S + 1)
    assert roster.take_hung(START_S + HUNG_AFTER_S) == []
    assert roster.take_hung(START_S + HUNG_AFTER_S + 1) == ["r1"]
    assert roster.take_hung(START_S + HUNG_AFTER_S + 1) == []


def test_one_that_a_gateway_could_not_reach_may_hang_as_well(roster: Roster) -> None:
    roster.drop("r1")
    roster.drop("nobody")
    assert roster.take_hung(START_S + HUNG_AFTER_S + 1) == ["r1"]


def test_one_that_speaks_again_or_says_that_it_leaves_does_not_hang(roster: Roster) -> None:
    roster.take(report("r2", sent_at_s=5.0), START_S)
    roster.drop_silent(START_S + SILENT_AFTER_S + 1)
    roster.take(report("r1", sent_at_s=6.0), START_S + HUNG_AFTER_S)
    roster.take(report("r2", ReplicaState.GONE, sent_at_s=6.0), START_S + HUNG_AFTER_S)
    assert roster.take_hung(START_S + HUNG_AFTER_S + 1) == []
    assert set(roster.reports) == {"r1", "starting"}


def test_one_that_never_started_is_not_ended(roster: Roster) -> None:
    roster.drop_silent(START_S + STARTING_SILENT_AFTER_S + 1)
    assert "starting" not in roster.take_hung(START_S + 10 * STARTING_SILENT_AFTER_S)


def test_a_report_that_comes_after_the_last_one_does_not_bring_its_replica_back(roster: Roster) -> None:
    assert roster.take(report("r1", ReplicaState.GONE, sent_at_s=6.0), START_S + 1)
    assert not roster.take(report("r1", sent_at_s=5.9), START_S + 1.1)
    assert "r1" not in roster.reports
    roster.drop_silent(START_S + 1 + LEFT_KEPT_S)
    assert roster._left == {}
