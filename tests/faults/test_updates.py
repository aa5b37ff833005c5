"""Rolling updates with traffic, and with streams that outlast the grace of what is replaced."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from tests.faults.processes import gateways, ready_pids, wait_for_replicas
from tests.faults.report import Report
from tests.faults.traffic import Traffic, codes
from tests.server import RunningServer, deployment_entry, model_entry, wait_until

# The configuration gives replicas 3 s and gateways 6 s; these streams take 25 s.
LONG = {"num_long": 3, "long_tokens": 2500}


@pytest.mark.parametrize(("model", "num_replicas"), [("brief", 1), ("brief-two", 2)])
def test_a_model_is_updated(server: RunningServer, report: Report, model: str, num_replicas: int) -> None:
    def slower(document: dict[str, Any]) -> None:
        model_entry(document, model)["engine"]["emulated"]["prefill_ms"] = 1

    with Traffic(server, model, **LONG) as traffic:
        old = wait_for_replicas(server, model, num_replicas)
        traffic.warm()
        traffic.note_fault()
        server.deploy(slower)
        wait_until(lambda: not any(map(psutil.pid_exists, old)), 60, "the old ones are gone")
        wait_for_replicas(server, model, num_replicas)
        traffic.recover()
    report.add(f"rolling update of a model, {num_replicas} replica(s)", traffic)
    assert not traffic.wrong
    assert not traffic.refused
    assert codes(traffic.broken) == {"upstream_error"}
    assert len(traffic.broken) <= 2 * LONG["num_long"], "only those that outlast the grace"


@pytest.mark.parametrize("num_gateways", [2, 1])
def test_the_gateway_is_updated(server: RunningServer, report: Report, num_gateways: int) -> None:
    def fewer(document: dict[str, Any]) -> None:
        deployment_entry(document, "Gateway")["num_replicas"] = num_gateways

    def changed(document: dict[str, Any]) -> None:
        fewer(document)
        options = {"num_cpus": 0, "runtime_env": {"env_vars": {"RAYMUX_UPDATE": str(num_gateways)}}}
        deployment_entry(document, "Gateway")["ray_actor_options"] = options

    if num_gateways == 1:
        server.deploy(fewer)
    wait_until(lambda: len(gateways(server)) == num_gateways, 60, "so many gateways")
    with Traffic(server, "one", **LONG) as traffic:
        traffic.warm()
        old = gateways(server)
        traffic.note_fault()
        server.deploy(changed)
        wait_until(lambda: not {*old} & {*gateways(server)}, 90, "the old ones are gone")
        wait_until(lambda: len(gateways(server)) == num_gateways, 60, "so many new ones")
        traffic.recover()
    report.add(f"rolling update of the gateway, {num_gateways} replica(s)", traffic)
    assert not traffic.wrong
    assert not traffic.refused
    assert codes(traffic.broken) == {"upstream_error"}
    assert len(traffic.broken) <= 2 * LONG["num_long"], "only those that outlast the grace"


def test_the_only_gateway_is_killed(server: RunningServer, report: Report) -> None:
    def fewer(document: dict[str, Any]) -> None:
        deployment_entry(document, "Gateway")["num_replicas"] = 1

    server.deploy(fewer)
    wait_until(lambda: len(gateways(server)) == 1, 60, "one gateway")
    with Traffic(server, "one") as traffic:
        traffic.warm()
        pids = ready_pids(server, "one")
        gateway = server.serve_process("Gateway")
        traffic.note_fault()
        gateway.kill()
        server.wait_for_another(gateway, "Gateway")
        traffic.recover()
        assert ready_pids(server, "one") == pids
    report.add("gateway killed, the only one", traffic)
    assert not traffic.wrong, "every refusal is in shape"
