"""Outside providers that fail in every way, each with a model of raymux's own as its fallback."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.faults.provider import Fault, FaultyProvider
from tests.faults.report import Report
from tests.faults.traffic import Traffic, codes
from tests.server import RunningServer, wait_until

FAULT_S = 4


@pytest.fixture(scope="module")
def traffics(server: RunningServer, provider: FaultyProvider, report: Report) -> dict[Fault, Traffic]:
    """Traffic to each provider, all of which fail for FAULT_S and then answer well again."""
    with ExitStack() as stack:
        found = {
            fault: stack.enter_context(Traffic(server, f"{fault.slug}/model", num_clients=2, num_tokens=20))
            for fault in Fault
        }
        for traffic in found.values():
            traffic.warm()
            traffic.note_fault()
        provider.broken = set(Fault)
        time.sleep(FAULT_S)
        provider.broken = set()
        answered = provider.num_answered.copy()
        for fault, traffic in found.items():
            traffic.recover()
            # Not by its fallback: its circuit closes by itself.
            wait_until(lambda fault=fault: provider.num_answered[fault] > answered[fault], 60, f"{fault} is over")
    for fault, traffic in found.items():
        report.add(f"provider: {fault}, for {FAULT_S} s", traffic)
    return found


@pytest.mark.parametrize("fault", Fault)
def test_a_provider_that_fails(fault: Fault, traffics: dict[Fault, Traffic]) -> None:
    traffic = traffics[fault]
    assert not traffic.wrong
    assert not traffic.refused, "before the first byte the fallback answers"
    assert codes(traffic.broken) == ({"upstream_error"} if fault.is_midway else set())
