"""What several of the manager's tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.replicas import ScalingDecision
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Store
from tests.unit.builders import Clock


class FakeServe:
    """What Serve's side does about replicas and decisions: `made` are those it made, `ended` the replicas it ended."""

    def __init__(self) -> None:
        self.made: list[ScalingDecision] = []
        self.ended: list[str] = []

    async def end_replica(self, app_name: str, replica_id: str) -> None:
        self.ended.append(replica_id)

    async def decisions(self, app_name: str) -> tuple[ScalingDecision, ...]:
        return tuple(self.made)

    async def forget_decisions(self, app_name: str) -> None:
        self.made.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "raymux.db")
