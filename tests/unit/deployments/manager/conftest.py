"""What several of the manager's tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.catalog import VariantSpec
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


class FakeControl(FakeServe):
    """Serve with what was deployed in it."""

    def __init__(self) -> None:
        super().__init__()
        self.apps: set[str] = set()

    async def deploy(self, spec: VariantSpec) -> None:
        self.apps.add(spec.app_name)

    async def delete(self, app_name: str) -> None:
        self.apps.discard(app_name)

    async def deployed(self) -> set[str]:
        return set(self.apps)

    async def deploy_failure(self, app_name: str) -> str | None:
        return None

    async def wake(self, spec: VariantSpec) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "raymux.db")
