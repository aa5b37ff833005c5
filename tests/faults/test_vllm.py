"""What only real vLLM can show: its engine core is a process of its own, and dies alone."""

from __future__ import annotations

from tests.engine_server import CHAT, CHECKPOINT
from tests.faults.report import Report
from tests.faults.traffic import Traffic, codes
from tests.server import RunningServer


def is_some_text(text: str, num_tokens: int) -> tuple[bool, bool]:
    """A language model's words carry no counter, but it was told not to stop early."""
    return True, len(text) >= num_tokens


def test_the_engine_process_is_killed(engine_server: RunningServer, report: Report) -> None:
    others = engine_server.replica_pids(CHAT)
    few = {"num_clients": 4, "num_tokens": 30, "fields": lambda: {"temperature": 0, "ignore_eos": True}}
    with Traffic(engine_server, CHECKPOINT, **few, check=is_some_text) as traffic:
        traffic.warm()
        (core,) = engine_server.engine_cores(CHECKPOINT)
        traffic.note_fault()
        core.kill()
        traffic.recover(timeout_s=120)
    report.add("engine process (vLLM's core) killed, the only one", traffic)
    assert not traffic.wrong
    assert not traffic.refused, "they wait for the next replica"
    assert codes(traffic.broken) <= {"upstream_error"}
    assert engine_server.replica_pids(CHAT) == others
