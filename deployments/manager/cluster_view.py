"""What Ray knows of the cluster, as `autoscaling.cluster` wants it.

Ray 2.60 has no public function for the free resources per node or for what its autoscaler may add, so the private
imports are here and nowhere else. The autoscaler's node types come from the cluster's configuration in the control
store, where version 2 of the autoscaler (KubeRay) writes it, else from the file with which `ray up` starts the head.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ray._private import state

from autoscaling.cluster import Cluster, Node, NodeType, Resources
from catalog.errors import ModelLoading

logger = logging.getLogger("ray.serve")

# A choice may rest on a view this old: Ray's own is renewed about as often.
MAX_AGE_S = 0.5
_UNBOUNDED = 1000


class ClusterView:
    """Reads the cluster. `launcher_config` is the cluster launcher's configuration on this node."""

    def __init__(self, launcher_config: str) -> None:
        self._launcher_config = Path(launcher_config).expanduser()
        self._seen: Cluster = Cluster()
        self._seen_at_s = -MAX_AGE_S
        self._reading: asyncio.Task[Cluster] | None = None

    async def look(self) -> Cluster:
        """The cluster as it was at most half a second ago. Callers that come together share one reading.

        While Ray does not answer, what was seen last; raises ModelLoading when that is nothing.
        """
        if time.monotonic() - self._seen_at_s < MAX_AGE_S:
            return self._seen
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(self._read))
            self._reading.add_done_callback(self._keep)
        try:
            return await asyncio.shield(self._reading)
        except Exception as error:
            logger.warning("Ray does not tell what the cluster has: %s", type(error).__name__)
            if not self._seen.nodes:
                raise ModelLoading("The cluster does not answer just now; try again.", retry_after_s=2) from None
            return self._seen

    def _keep(self, reading: asyncio.Task[Cluster]) -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception() is None:
            self._seen, self._seen_at_s = reading.result(), time.monotonic()

    def _read(self) -> Cluster:
        free = state.available_resources_per_node()
        total = state.total_resources_per_node()
        nodes = tuple(Node(resources, free.get(id, {})) for id, resources in total.items())
        config = _from_control_store() or _from_file(self._launcher_config)
        if config is None:
            return Cluster(nodes)
        types, max_workers = config
        addable = tuple(
            NodeType(name, resources, max(0, num - sum(_is_of(node.total, resources) for node in nodes)))
            for name, resources, num in types
            if num > 0
        )
        return Cluster(nodes, addable, max(0, max_workers - (len(nodes) - 1)))


def _is_of(total: Resources, resources: Resources) -> bool:
    """Whether a node is one of a type: it has its accelerators, and as many of them."""
    names = [name for name in resources if name == "GPU" or name.startswith("accelerator_type:")]
    return bool(names) and all(total.get(name) == resources[name] for name in names)


_Config = tuple[list[tuple[str, dict[str, float], int]], int]


def _from_control_store() -> _Config | None:
    config = state.state.get_cluster_config()
    if config is None or not config.node_group_configs:
        return None
    types = [
        (group.name, {name: float(amount) for name, amount in group.resources.items()}, _bound(group.max_count))
        for group in config.node_group_configs
    ]
    return types, _UNBOUNDED


def _bound(count: int) -> int:
    return _UNBOUNDED if count < 0 else count


def _from_file(path: Path) -> _Config | None:
    """The node types of a cluster launcher's configuration, or None where there is none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        logger.warning("the cluster launcher's configuration cannot be read: %s", type(error).__name__)
        return None
    if not isinstance(document, Mapping) or not isinstance(document.get("available_node_types"), Mapping):
        return None
    head = document.get("head_node_type")
    most = int(document.get("max_workers", 2))
    types = [_node_type(name, kind, most) for name, kind in document["available_node_types"].items() if name != head]
    return types, most


def _node_type(name: str, kind: Mapping[str, Any], most: int) -> tuple[str, dict[str, float], int]:
    resources = {key: float(amount) for key, amount in (kind.get("resources") or {}).items()}
    return name, resources, int(kind.get("max_workers", most))
