from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autoscaling.cluster import Cluster, Node, NodeType
from catalog.errors import ModelLoading
from deployments.manager import cluster_view as module
from deployments.manager.cluster_view import ClusterView

HEAD = {"CPU": 8.0}
H100 = {"CPU": 16.0, "GPU": 4.0, "accelerator_type:H100": 1.0}


class Ray:
    """What Ray's state would tell: nodes by id, and the autoscaler's configuration in the control store."""

    def __init__(self) -> None:
        self.total: dict[str, dict[str, float]] = {"head": HEAD}
        self.free: dict[str, dict[str, float]] = {"head": {"CPU": 7.0}}
        self.is_away = False
        self.num_readings = 0
        self.state = self

    def available_resources_per_node(self) -> dict[str, dict[str, float]]:
        self.num_readings += 1
        if self.is_away:
            raise RuntimeError("the control store is gone")
        return self.free

    def total_resources_per_node(self) -> dict[str, dict[str, float]]:
        return self.total

    def get_cluster_config(self) -> None:
        return None


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(module, "state", ray)
    return ray


def launcher(folder: Path, **changes: Any) -> str:
    document = {
        "max_workers": 3,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": HEAD},
            "h100": {"resources": H100, "max_workers": 2},
        },
        **changes,
    }
    path = folder / "cluster.yaml"
    path.write_text(json.dumps(document))
    return str(path)


async def test_without_an_autoscaler_there_is_what_runs(ray: Ray, tmp_path: Path) -> None:
    assert await ClusterView(str(tmp_path / "none.yaml")).look() == Cluster((Node(HEAD, {"CPU": 7.0}),))


async def test_a_node_type_may_be_added_as_often_as_its_limit_leaves(ray: Ray, tmp_path: Path) -> None:
    ray.total["n1"], ray.free["n1"] = H100, {}
    cluster = await ClusterView(launcher(tmp_path)).look()
    assert cluster.nodes == (Node(HEAD, {"CPU": 7.0}), Node(H100, {}))
    assert cluster.node_types == (NodeType("h100", H100, 1),)
    assert cluster.max_addable == 2


@pytest.mark.parametrize("text", ["[", "just text", "available_node_types: 3", ""])
async def test_a_configuration_that_cannot_be_read_adds_nothing(ray: Ray, tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    assert (await ClusterView(str(path)).look()).node_types == ()


async def test_while_ray_is_away_the_last_view_stays_in_use(
    ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_AGE_S", 0.0)
    view = ClusterView(str(tmp_path / "none.yaml"))
    ray.is_away = True
    with pytest.raises(ModelLoading):
        await view.look()
    ray.is_away = False
    seen = await view.look()
    ray.is_away = True
    assert await view.look() == seen


async def test_views_of_the_same_moment_share_a_reading(ray: Ray, tmp_path: Path) -> None:
    view = ClusterView(str(tmp_path / "none.yaml"))
    assert await view.look() is await view.look()
    assert ray.num_readings == 1
