"""What the manager meets: a disk that is full, a model that cannot start, a configuration that is no good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.faults.processes import ready_pids
from tests.faults.report import Report
from tests.faults.traffic import Traffic, codes
from tests.integration.calls import CLIENT, chat, error
from tests.server import RunningServer, user_config, wait_until

NEWCOMER = {
    "name": "newcomer",
    "source": "models/demo-chat",
    "variants": [{"shape": "CPU", "num_cpus": 0}],
    "engine": {"kind": "emulated"},
}


@contextmanager
def full_disk(server: RunningServer, disk: Path | None) -> Iterator[None]:
    """The disk of the manager's store is full; without a disk of its own its files may grow no further."""
    if disk is not None:
        filler = disk / "filler"
        with filler.open("wb") as file:
            free = os.statvfs(disk)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
        yield
        filler.unlink()
        return
    manager = server.serve_process("ModelManager")
    before = manager.rlimit(psutil.RLIMIT_FSIZE)
    manager.rlimit(psutil.RLIMIT_FSIZE, (1, before[1]))
    yield
    manager.rlimit(psutil.RLIMIT_FSIZE, before)


def register(server: RunningServer) -> httpx.Response:
    return CLIENT.post(f"{server.url}/v1/models", json=NEWCOMER)


def test_the_store_s_disk_is_full(server: RunningServer, report: Report, small_disk: Path | None) -> None:
    with Traffic(server, "one") as traffic:
        traffic.warm()
        traffic.note_fault()
        with full_disk(server, small_disk):
            refusals = [register(server) for _ in range(5)]
            traffic.wait_whole(16)
        for each in refusals:
            assert (each.status_code, error(each)["code"]) == (503, "store_unavailable")
        assert NEWCOMER["name"] not in {each["model"] for each in server.variants()}, "nothing has changed"
        wait_until(lambda: register(server).status_code == 201, 20, "there is room again")
        traffic.recover()
        assert CLIENT.delete(f"{server.url}/v1/models/{NEWCOMER['name']}").status_code == 200
    report.add("disk full under the manager's store", traffic)
    assert not traffic.wrong
    assert not traffic.failures


def test_one_model_cannot_start(server: RunningServer, report: Report) -> None:
    with Traffic(server, "one") as traffic, Traffic(server, "broken", num_clients=4) as unlucky:
        traffic.warm()
        traffic.note_fault()
        # Long enough for some tries.
        wait_until(lambda: server.status("broken")["num_starts"] >= 2, 30, "it is tried again")
        traffic.recover()
    report.add("a model that cannot start, beside one that does", traffic)
    assert not traffic.wrong
    assert not traffic.failures
    assert not unlucky.wrong
    assert not unlucky.whole
    assert codes(unlucky.refused) == {"model_failed"}


@pytest.mark.parametrize(
    ("fault", "broken", "told"),
    [
        ("a field that is no good", {"variants": [{"shape": "TPU"}]}, "model_not_found"),
        (
            "an engine that cannot start",
            {"engine": {"kind": "emulated", "emulated": {"fail_start": "no"}}},
            "model_failed",
        ),
    ],
)
def test_a_configuration_is_deployed_that_has_a_broken_model(
    server: RunningServer, report: Report, fault: str, broken: dict[str, Any], told: str
) -> None:
    def worse(document: dict[str, Any]) -> None:
        user_config(document, "ModelManager")["models"].append({**NEWCOMER, "name": "worse", **broken})

    with Traffic(server, "one") as traffic:
        traffic.warm()
        pids, manager = ready_pids(server, "one"), server.serve_process("ModelManager")
        traffic.note_fault()
        server.deploy(worse)
        traffic.wait_whole(80)
        assert error(chat(server, "worse"))["code"] == told
        server.deploy(lambda _: None)
        wait_until(lambda: "worse" not in {each["model"] for each in server.variants()}, 60, "it is mended")
        traffic.recover()
        assert ready_pids(server, "one") == pids
        assert server.serve_process("ModelManager") == manager
    report.add(f"a configuration with {fault}, for one model", traffic)
    assert not traffic.wrong
    assert not traffic.failures
