"""A Ray cluster on this machine whose autoscaler launches and removes nodes with GPUs that are not there.

Ray's fake multi-node provider starts each node as processes of this machine. The head has no GPU.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from deployments.environment import serve_environment
from tests.ray_node import RayNode
from tests.server import free_port, title

HEAD_CPUS = 16
# After it a node without work leaves.
IDLE_TIMEOUT_S = 4


class FakeCluster:
    """A context manager. `node_types` gives each type's resources, of which up to `max_workers` nodes are launched.

    `environment` is for servers that join it, and `launcher_config` the file that tells what may be added.
    """

    def __init__(self, node_types: Mapping[str, Mapping[str, float]], max_workers: int = 1) -> None:
        self._node_types = node_types
        self._max_workers = max_workers

    def __enter__(self) -> FakeCluster:
        # Short, since Ray puts sockets below it.
        self._folder = Path(tempfile.mkdtemp(prefix="rmx-", dir="/tmp"))
        self.address = f"127.0.0.1:{free_port()}"
        self.launcher_config = self._folder / "cluster.json"
        self.launcher_config.write_text(json.dumps(self._config()))
        self.environment = {
            **serve_environment(fast_path=True),
            "RAY_ADDRESS": self.address,
            "RAY_FAKE_CLUSTER": "1",
            "RAY_AUTH_MODE": "disabled",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        self._head = RayNode(self._folder, "head", self._arguments(), self.environment)
        try:
            self._head.wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _config(self) -> dict[str, Any]:
        head = {"resources": {"CPU": HEAD_CPUS}, "node_config": {}, "max_workers": 0}
        workers = {
            name: {"resources": dict(resources), "node_config": {}, "min_workers": 0, "max_workers": self._max_workers}
            for name, resources in self._node_types.items()
        }
        return {
            "cluster_name": "fake",
            "max_workers": len(workers) * self._max_workers,
            "idle_timeout_minutes": IDLE_TIMEOUT_S / 60,
            "upscaling_speed": 1.0,
            "docker": {},
            "provider": {
                "type": "fake_multinode",
                "gcs_address": self.address,
                "disable_launch_config_check": True,
                "disable_node_updaters": True,
                # The nodes share this machine's address.
                "use_node_id_as_ip": True,
            },
            "auth": {"ssh_user": "root"},
            "available_node_types": {"ray.head.default": head, **workers},
            "head_node_type": "ray.head.default",
            "file_mounts": {},
            "cluster_synced_files": [],
            "file_mounts_sync_continuously": False,
            "rsync_exclude": [],
            "rsync_filter": [],
            "initialization_commands": [],
            "setup_commands": [],
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
        }

    def _arguments(self) -> list[str]:
        host, _, port = self.address.partition(":")
        return [
            "--head", f"--node-ip-address={host}", f"--port={port}", f"--num-cpus={HEAD_CPUS}", "--num-gpus=0",
            f"--autoscaling-config={self.launcher_config}", f"--temp-dir={self._folder}/ray",
            f"--ray-client-server-port={free_port()}", "--include-dashboard=false",
        ]  # fmt: skip

    def stop(self) -> None:
        """End every process of the cluster, its fake nodes' too."""
        self._head.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def nodes(self) -> list[str]:
        """The types of the GPU nodes that run, by their accelerators: `["H100"]`."""
        found = []
        for process in psutil.process_iter():
            command = title(process)
            if "/raylet/raylet" in command and str(self._folder) in command:
                found += [name for name, resources in self._node_types.items() if _is_node_of(command, resources)]
        return sorted(found)


def _is_node_of(command: str, resources: Mapping[str, float]) -> bool:
    return all(name in command for name in resources if name.startswith("accelerator_type:"))
