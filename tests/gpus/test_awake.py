"""Two engines share one GPU by the awake lease, on Ray's fake autoscaler; the engines' own journal tells of turns."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_cluster import FakeCluster
from tests.integration.calls import chat
from tests.server import PROJECT, RunningServer, model_entry, user_config, wait_until

GONE_TIMEOUT_S = 60
MODELS = ("day", "night")


@pytest.fixture(scope="module")
def journal() -> Iterator[Path]:
    path = Path(tempfile.gettempdir()) / f"raymux-{uuid.uuid4().hex}.jsonl"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[FakeCluster]:
    with FakeCluster({"a10g": {"CPU": 4, "GPU": 1, "accelerator_type:A10G": 1}}) as running:
        yield running


@pytest.fixture(scope="module")
def server(small_cluster: FakeCluster, journal: Path) -> Iterator[RunningServer]:
    def change(document: dict[str, Any]) -> None:
        user_config(document, "ModelManager")["launcher_config"] = str(small_cluster.launcher_config)
        for model in MODELS:
            model_entry(document, model)["engine"]["emulated"]["journal"] = journal.name

    config = PROJECT / "tests/configs/sleep_group.yaml"
    with RunningServer(config, change, environment=small_cluster.environment) as running:
        yield running


def entries(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


def assert_one_at_a_time(journal: Path, dead: tuple[int, ...] = ()) -> None:
    """No engine begins to wake before the one that was awake sleeps, or its process (one of `dead`) has ended."""
    holder = None
    for entry in sorted(entries(journal), key=lambda entry: entry["at_s"]):
        if entry["event"] == "waking":
            assert holder is None or holder in dead, entries(journal)
            holder = entry["pid"]
        assert holder == entry["pid"], entries(journal)
        if entry["event"] == "asleep":
            holder = None


def ask_all(server: RunningServer, num_each: int, max_tokens: int) -> list[int]:
    """The statuses of concurrent requests to both models."""
    statuses: list[int] = []

    def ask(model: str) -> None:
        statuses.append(chat(server, model, max_tokens).status_code)

    threads = [threading.Thread(target=ask, args=(model,)) for _ in range(num_each) for model in MODELS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return statuses


def replicas(server: RunningServer) -> dict[str, dict[str, Any]]:
    return {model: replica for model in MODELS for replica in server.status(model)["replicas"]}


def test_two_models_take_turns_on_one_gpu(server: RunningServer, small_cluster: FakeCluster, journal: Path) -> None:
    assert chat(server, "day").status_code == 200
    assert chat(server, "night").status_code == 200
    pids = {model: replica["pid"] for model, replica in replicas(server).items()}
    assert set(pids) == set(MODELS), "both are there at once"
    for _ in range(3):
        for model in MODELS:
            assert chat(server, model).status_code == 200
    assert ask_all(server, num_each=8, max_tokens=50) == [200] * 16
    assert {model: replica["pid"] for model, replica in replicas(server).items()} == pids, "none was restarted"
    assert [replica["is_asleep"] for replica in replicas(server).values()].count(True) <= 2
    assert_one_at_a_time(journal)
    assert small_cluster.nodes() == ["a10g"]


def test_a_model_that_is_busy_without_end_gives_way_after_its_turn(server: RunningServer, journal: Path) -> None:
    has_ended = threading.Event()

    def keep_busy() -> None:
        while not has_ended.is_set():
            assert chat(server, "day", 40).status_code == 200

    workers = [threading.Thread(target=keep_busy) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(2):
            assert chat(server, "night", timeout=20).status_code == 200
    finally:
        has_ended.set()
        for worker in workers:
            worker.join(30)
    assert_one_at_a_time(journal)


def test_the_lease_of_a_killed_replica_ends_with_it(server: RunningServer, journal: Path) -> None:
    assert chat(server, "night").status_code == 200
    assert chat(server, "day").status_code == 200
    awake = replicas(server)["day"]["pid"]
    os.kill(awake, signal.SIGKILL)
    assert chat(server, "night", timeout=20).status_code == 200
    assert_one_at_a_time(journal, dead=(awake,))


def test_when_idle_both_go_then_their_owner_and_the_node(server: RunningServer, small_cluster: FakeCluster) -> None:
    for model in MODELS:
        server.wait_for_state(model, "cold", GONE_TIMEOUT_S)
    wait_until(lambda: not small_cluster.nodes(), GONE_TIMEOUT_S, "the node is gone")
    # And it all comes again.
    assert chat(server, "night", timeout=90).status_code == 200
    assert small_cluster.nodes() == ["a10g"]
