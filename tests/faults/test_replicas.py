"""Replicas, gateways and Serve's own processes that die or hang while requests run."""

from __future__ import annotations

import psutil
import pytest

from tests.faults.processes import busiest, gateways, processes, ready_pids, wait_for_replicas
from tests.faults.report import Report
from tests.faults.traffic import Traffic, codes
from tests.server import RunningServer, wait_until

# Beside short requests some long streams, so that each replica has some whenever it breaks.
LONG = {"num_long": 4, "long_tokens": 1000}


def test_the_only_replica_is_killed(server: RunningServer, report: Report) -> None:
    with Traffic(server, "one", **LONG) as traffic:
        traffic.warm()
        (pid,) = ready_pids(server, "one")
        traffic.note_fault()
        psutil.Process(pid).kill()
        traffic.recover()
    report.add("engine replica killed, the only one", traffic)
    assert not traffic.wrong
    assert not traffic.refused, "they wait for the next replica"
    assert codes(traffic.broken) == {"upstream_error"}
    assert ready_pids(server, "one") != [pid]


def test_one_of_two_replicas_is_killed(server: RunningServer, report: Report) -> None:
    with Traffic(server, "two", **LONG) as traffic:
        wait_for_replicas(server, "two", 2)
        traffic.warm()
        pid = busiest(server, "two")
        traffic.note_fault()
        psutil.Process(pid).kill()
        traffic.recover()
        wait_for_replicas(server, "two", 2)
    report.add("engine replica killed, one of two", traffic)
    assert not traffic.wrong
    assert not traffic.refused
    assert codes(traffic.broken) == {"upstream_error"}


def test_one_of_two_replicas_hangs(server: RunningServer, report: Report) -> None:
    """SIGSTOP: its connections stay open, and nothing says that nobody is there."""
    with Traffic(server, "two", **LONG) as traffic:
        pids = wait_for_replicas(server, "two", 2)
        traffic.warm()
        hung = busiest(server, "two")
        traffic.note_fault()
        psutil.Process(hung).suspend()
        wait_until(lambda: not psutil.pid_exists(hung), 60, "the one that hangs is killed")
        traffic.recover()
        wait_for_replicas(server, "two", 2)
    report.add("engine replica hung, one of two", traffic)
    assert not traffic.wrong
    assert not traffic.refused
    assert codes(traffic.broken) == {"upstream_error"}
    # Silent for 8 s, given up after 3 more: what waited for it went to the other one.
    assert traffic.slowest_first_byte_s < 20
    assert {*pids} - {hung} < {*ready_pids(server, "two")}


def test_the_manager_is_killed(server: RunningServer, report: Report) -> None:
    with Traffic(server, "one") as traffic:
        traffic.warm()
        pids = ready_pids(server, "one")
        manager = server.serve_process("ModelManager")
        traffic.note_fault()
        manager.kill()
        server.wait_for_another(manager, "ModelManager")
        wait_until(lambda: ready_pids(server, "one") == pids, 60, "its replica has reported")
        traffic.recover()
    report.add("model manager killed", traffic)
    assert not traffic.wrong
    assert not traffic.failures


def test_the_serve_controller_is_killed(server: RunningServer, report: Report) -> None:
    with Traffic(server, "two", **LONG) as traffic:
        pids = wait_for_replicas(server, "two", 2)
        traffic.warm()
        (controller,) = processes(server, "ray::ServeController")
        traffic.note_fault()
        controller.kill()
        wait_until(lambda: len(processes(server, "ray::ServeController")) == 1, 60, "it is back")
        traffic.recover()
        assert sorted(ready_pids(server, "two")) == sorted(pids)
        # It scales again: what dies is replaced.
        psutil.Process(pids[0]).kill()
        wait_until(lambda: len({*ready_pids(server, "two")} - {pids[0]}) == 2, 60, "it is replaced")
    report.add("Serve controller killed, then a replica", traffic)
    assert not traffic.wrong
    assert not traffic.refused


@pytest.fixture(scope="module")
def gateway_killed(server: RunningServer, report: Report) -> Traffic:
    """Traffic during which one of two gateways is killed."""
    with Traffic(server, "one", **LONG) as traffic:
        wait_until(lambda: len(gateways(server)) == 2, 60, "two gateways")
        pids = ready_pids(server, "one")
        traffic.warm()
        traffic.note_fault()
        gateways(server)[0].kill()
        wait_until(lambda: len(gateways(server)) == 2, 60, "it is replaced")
        traffic.recover()
        assert ready_pids(server, "one") == pids
    report.add("gateway killed, one of two", traffic)
    return traffic


def test_one_of_two_gateways_is_killed(gateway_killed: Traffic) -> None:
    assert not gateway_killed.wrong
    assert gateway_killed.broken


@pytest.mark.haproxy
def test_what_a_killed_gateway_had_not_answered_goes_to_the_other_one(gateway_killed: Traffic) -> None:
    assert not gateway_killed.refused


@pytest.mark.haproxy
@pytest.mark.xfail(strict=True, reason="HAProxy cannot add an event to a stream whose gateway is gone; it cuts it off")
def test_the_streams_of_a_killed_gateway_end_in_an_error_event(gateway_killed: Traffic) -> None:
    assert codes(gateway_killed.broken) == {"upstream_error"}
