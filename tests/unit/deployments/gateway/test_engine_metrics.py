"""What engines count of themselves is told with its replica, and a replica that says nothing spoils nothing."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from catalog.replicas import ReplicaState
from tests.unit.builders import report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest

TEXT = """# HELP vllm:num_requests_running Requests.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} %d
"""


async def running(gateway: GatewayUnderTest) -> dict[tuple[str, str], float]:
    reply = await gateway.get("/metrics/engines")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return {
        (f"{sample.labels['model']}@{sample.labels['variant']}", sample.labels["replica"]): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
        if sample.labels["model_name"] == "m"
    }


async def test_every_ready_replica_is_told_of_with_its_labels(gateway: GatewayUnderTest) -> None:
    first, second = report("r1"), report("r2")
    await gateway.publish(first, second, report("r3", ReplicaState.DRAINING))
    gateway.relay.engine_metrics = {"r1": TEXT % 1, "r2": TEXT % 2, "r3": TEXT % 3}
    assert await running(gateway) == {(first.variant, "r1"): 1, (second.variant, "r2"): 2}


async def test_a_replica_that_is_gone_or_says_something_else_is_left_out(gateway: GatewayUnderTest) -> None:
    await gateway.publish(report("r1"), report("r2"), report("r3"), report("r4"))
    gateway.relay.engine_metrics = {"r1": TEXT % 1, "r2": "", "r3": '{"detail": "no such thing"'}
    assert set(await running(gateway)) == {(report().variant, "r1")}


async def test_without_replicas_there_is_nothing_to_tell(gateway: GatewayUnderTest) -> None:
    await gateway.publish()
    assert await running(gateway) == {}
