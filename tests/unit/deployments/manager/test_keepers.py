"""A start that waits for a place ends when no node has one any more, and looks for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from autoscaling.choice import Reason
from autoscaling.cluster import Cluster, Node, NodeType
from catalog.catalog import Catalog
from catalog.errors import GpuUnavailable, ModelLoading
from catalog.replicas import VariantState
from catalog.settings import CatalogSettings
from deployments.manager import keeper as keeper_module
from deployments.manager.keepers import Keepers
from deployments.manager.view import Placed
from tests.unit.builders import CHAT, catalog_dict, report, settle, variant
from tests.unit.deployments.manager.conftest import FakeControl

CPU, H100 = f"{CHAT}@CPU", f"{CHAT}@H100:4"
CPUS = {"CPU": 8.0}
GPUS = {"CPU": 64.0, "GPU": 4.0, "accelerator_type:H100": 1.0}


class Scene(FakeControl):
    """Serve, which starts nothing by itself, and the cluster as the test has it."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster((Node(CPUS, CPUS), Node(GPUS, GPUS)))
        self.answers = True

    async def look(self) -> Cluster:
        if not self.answers:
            raise ModelLoading("The cluster does not answer.")
        return self.cluster


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(keeper_module, "PLACING_S", -1)
    return Scene()


@pytest.fixture
async def keepers(scene: Scene) -> AsyncIterator[Keepers]:
    keepers = Keepers(scene, scene.look, lambda key, is_new: None)  # pyright: ignore[reportArgumentType]
    await keepers.take_over(Catalog(CatalogSettings.model_validate(catalog_dict())), is_first=True)
    yield keepers
    for keeper in keepers:
        if keeper._start is not None:
            keeper._start.cancel()


async def asking(keepers: Keepers, *variants: str) -> asyncio.Task[Placed]:
    """A request that waits for one of the variants."""
    request = asyncio.create_task(keepers.ensure(variants))
    await settle()
    assert not request.done()
    return request


async def test_a_start_whose_node_goes_ends_at_once_and_is_no_failure(keepers: Keepers, scene: Scene) -> None:
    requests = [await asking(keepers, H100) for _ in range(2)]
    assert scene.apps == {variant(CHAT, "H100:4").app_name}
    scene.cluster = Cluster((Node(CPUS, CPUS),))
    await keepers.end_unplaced()
    for request in requests:
        with pytest.raises(GpuUnavailable, match="H100:4"):
            await request
    await settle()
    assert scene.apps == set()
    assert not keepers.find(H100).is_blocked
    scene.cluster = Cluster((Node(CPUS, CPUS), Node(GPUS, GPUS)))
    again = await asking(keepers, H100)
    keepers.take(report(variant=H100))
    assert (await again).replica == report(variant=H100)


async def test_who_waited_gets_another_variant_of_the_model(keepers: Keepers, scene: Scene) -> None:
    request = await asking(keepers, H100, CPU)
    assert keepers.find(H100).state is VariantState.SCHEDULING
    scene.cluster = Cluster((Node(CPUS, CPUS),))
    await keepers.end_unplaced()
    await settle()
    assert scene.apps == {variant(CHAT).app_name}
    keepers.take(report())
    placed = await request
    assert placed[:2] == (report(), Reason.SPILL)
    assert placed.status is not None
    assert (placed.status.variant, placed.status.state) == (CPU, VariantState.READY)
    assert placed.status.last_start is not None, "who asks for the status after the answer learns how it was started"


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster((Node(GPUS, CPUS),)),
        Cluster((Node(CPUS, CPUS),), (NodeType("h100", GPUS, 1),), max_addable=1),
    ],
    ids=["occupied", "addable"],
)
async def test_a_start_that_may_still_find_a_place_goes_on(keepers: Keepers, scene: Scene, cluster: Cluster) -> None:
    request = await asking(keepers, H100)
    scene.cluster = cluster
    await keepers.end_unplaced()
    scene.cluster, scene.answers = Cluster(), False
    await keepers.end_unplaced()
    await settle()
    assert not request.done()
    keepers.take(report(variant=H100))
    await request


async def test_a_start_is_left_some_seconds_to_find_its_place(
    keepers: Keepers, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "PLACING_S", 3.0)
    request = await asking(keepers, H100)
    scene.cluster = Cluster()
    await keepers.end_unplaced()
    await settle()
    assert not request.done()
    assert keepers.find(H100).is_unplaced(time.time() + 3.1)
    request.cancel()
