"""A cluster whose head has no GPU, three types of GPU node at zero, and a server on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_cluster import FakeCluster
from tests.server import PROJECT, RunningServer, user_config

NODE_TYPES = {
    "a10g": {"CPU": 4, "GPU": 1, "accelerator_type:A10G": 1},
    "l40s": {"CPU": 8, "GPU": 2, "accelerator_type:L40S": 1},
    "h100": {"CPU": 8, "GPU": 4, "accelerator_type:H100": 1},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(NODE_TYPES) as running:
        yield running


@pytest.fixture(scope="module")
def server(cluster: FakeCluster) -> Iterator[RunningServer]:
    def join(document: dict) -> None:
        user_config(document, "ModelManager")["launcher_config"] = str(cluster.launcher_config)

    with RunningServer(PROJECT / "tests/configs/fake_gpus.yaml", join, environment=cluster.environment) as running:
        yield running
