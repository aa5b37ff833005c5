from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from catalog.catalog import VariantSpec
from catalog.errors import InvalidRequest, ModelNotFound, ModelStopped
from catalog.loading import ConfigError
from catalog.replicas import ReplicaReport, VariantState
from deployments.manager import manager as manager_module
from deployments.manager.manager import ModelManager
from tests.unit.builders import (
    CHAT,
    CHECKPOINT,
    EMBEDDER,
    HELD_CHECKPOINT,
    PIRATE,
    catalog_dict,
    report,
    settle,
    variant,
)


class FakeControl:
    """Serve with what was deployed in it."""

    def __init__(self) -> None:
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
def control(monkeypatch: pytest.MonkeyPatch) -> FakeControl:
    control = FakeControl()
    monkeypatch.setattr(manager_module, "ServeControl", lambda: control)
    monkeypatch.setattr(manager_module, "COALESCE_S", 0)
    monkeypatch.setattr(manager_module, "WATCH_TIMEOUT_S", 0)
    return control


@pytest.fixture
async def manager(control: FakeControl) -> AsyncIterator[Any]:
    """The class that Serve deploys, without Serve."""
    manager = ModelManager.func_or_class()
    yield manager
    tasks = [*manager._tasks, *(keeper._start for keeper in manager._keepers.values() if keeper._start)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def reconfigure(manager: Any, **changes: Any) -> None:
    await manager.reconfigure({**catalog_dict(), **changes})
    await settle()


async def test_a_wrong_catalog_is_refused_with_its_place(manager: Any) -> None:
    with pytest.raises(ConfigError, match=r"^ModelManager\.user_config\.models"):
        await manager.reconfigure({"models": []})


async def test_a_gateway_gets_the_catalog_once_and_again_when_it_changed(manager: Any) -> None:
    await reconfigure(manager)
    first = await manager.watch(0, 0)
    assert first.catalog is not None
    assert {status.variant for status in first.variants} >= {f"{CHAT}@CPU", f"{EMBEDDER}@CPU"}
    again = await manager.watch(first.version, first.catalog_version)
    assert again.catalog is None
    await reconfigure(manager, adapters=[])
    changed = await manager.watch(again.version, again.catalog_version)
    assert changed.catalog is not None
    assert changed.catalog.adapters == ()


async def test_a_watcher_hears_of_a_change_as_soon_as_it_happens(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "WATCH_TIMEOUT_S", 60)
    await reconfigure(manager)
    view = await manager.watch(0, 0)
    watching = asyncio.create_task(manager.watch(view.version, view.catalog_version))
    await settle()
    assert not watching.done()
    await manager.report(report())
    assert (await watching).replicas == (report(),)


async def test_a_report_of_a_variant_that_left_is_ignored(manager: Any) -> None:
    await reconfigure(manager)
    await manager.report(report(variant="nobody@CPU"))
    assert (await manager.watch(0, 0)).replicas == ()


async def test_an_expected_failure_is_returned_since_ray_wraps_what_is_raised(manager: Any) -> None:
    await reconfigure(manager)
    assert isinstance(await manager.ensure("nobody@CPU"), ModelNotFound)
    await manager.stop(CHAT)
    await settle()
    assert isinstance(await manager.ensure(f"{CHAT}@CPU"), ModelStopped)


async def test_a_ready_replica_is_handed_out(manager: Any) -> None:
    await reconfigure(manager)
    await manager.report(report())
    found = await manager.ensure(f"{CHAT}@CPU")
    assert isinstance(found, ReplicaReport)
    assert found == report()


async def test_a_new_manager_adopts_what_runs_and_removes_what_nobody_knows(manager: Any, control: FakeControl) -> None:
    control.apps = {variant().app_name, "model-orphan-00000000"}
    await reconfigure(manager)
    assert control.apps == {variant().app_name}


async def test_a_model_that_leaves_the_catalog_is_removed_and_others_stay(manager: Any, control: FakeControl) -> None:
    control.apps = {variant().app_name, variant(EMBEDDER).app_name}
    await reconfigure(manager)
    await reconfigure(manager, models=catalog_dict()["models"][:1])
    assert control.apps == {variant().app_name}
    assert isinstance(await manager.ensure(f"{EMBEDDER}@CPU"), ModelNotFound)


async def test_adding_a_model_restarts_nothing(manager: Any, control: FakeControl) -> None:
    await reconfigure(manager)
    models = catalog_dict()["models"]
    await reconfigure(manager, models=[*models, models[1] | {"name": "another"}])
    assert control.apps == set()
    assert "another@CPU" in {status.variant for status in (await manager.watch(0, 0)).variants}


async def test_promotion_is_for_checkpoints_and_starts_them(manager: Any, control: FakeControl) -> None:
    await reconfigure(manager)
    assert isinstance(await manager.promote("nobody"), ModelNotFound)
    assert isinstance(await manager.promote(CHAT), InvalidRequest)
    assert isinstance(await manager.promote(PIRATE), InvalidRequest)
    assert await manager.promote(HELD_CHECKPOINT) is None
    await settle()
    assert (await manager.watch(0, 0)).promoted == {HELD_CHECKPOINT}
    assert control.apps == {variant(HELD_CHECKPOINT).app_name}


async def test_an_adapter_is_not_stopped_by_itself(manager: Any) -> None:
    await reconfigure(manager)
    error = await manager.stop(PIRATE)
    assert isinstance(error, InvalidRequest)
    assert CHAT in error.message


async def test_stop_and_start_are_for_every_variant_of_a_model(manager: Any) -> None:
    await reconfigure(manager)
    assert await manager.stop(CHECKPOINT) is None
    await settle()
    states = {status.variant: status.state for status in (await manager.watch(0, 0)).variants}
    assert states[f"{CHECKPOINT}@CPU"] is states[f"{CHECKPOINT}@H100:4"] is VariantState.STOPPED
    assert states[f"{CHAT}@CPU"] is VariantState.COLD
    assert await manager.start(CHECKPOINT) is None
    await settle()
    states = {status.variant: status.state for status in (await manager.watch(0, 0)).variants}
    assert states[f"{CHECKPOINT}@CPU"] is VariantState.SCHEDULING
    assert states[f"{CHECKPOINT}@H100:4"] is VariantState.COLD
    assert isinstance(await manager.start("nobody"), ModelNotFound)
    assert isinstance(await manager.stop("nobody"), ModelNotFound)
