"""A Ray cluster on two hosts: this machine, and a network namespace of it with an address and a GPU of its own.

The GPU is not there, so engines are emulated; the network between the two is real, and can be cut. It takes root and
iproute2.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deployments.environment import serve_environment
from tests.ray_node import RayNode
from tests.server import free_port

GPU = "L40S"
HEAD_CPUS = 4


def is_possible() -> bool:
    """Whether this process may make network namespaces and links; root in a container often may not."""
    name = f"rmx-try{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _ip("netns", "delete", name)
    return True


class TwoHosts:
    """A context manager. `environment` is for servers that join the cluster on this machine, its head: the node `here`.

    The other host comes with `join`, which returns when it is a node of the cluster.
    """

    def __enter__(self) -> TwoHosts:
        # Short, since Ray puts sockets below it.
        self._folder = Path(tempfile.mkdtemp(prefix="rmx-", dir="/tmp"))
        self._name = f"rmx{os.getpid()}"
        self.head, self.other = "10.213.77.1", "10.213.77.2"
        address = f"{self.head}:{free_port()}"
        self.environment = {
            **serve_environment(fast_path=True),
            "RAY_ADDRESS": address,
            "RAY_AUTH_MODE": "disabled",
            # Ray takes a minute else until it gives a silent node up.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "4000",
            # Longer than the network is cut for, or the node would be given up.
            "RAY_health_check_failure_threshold": "5",
        }
        self._other: RayNode | None = None
        self._connect()
        self.here = RayNode(
            self._folder,
            "head",
            [
                "--head", f"--node-ip-address={self.head}", f"--port={address.partition(':')[2]}", "--num-gpus=0",
                f"--num-cpus={HEAD_CPUS}", f"--temp-dir={self._folder}/ray", "--include-dashboard=false",
                f"--ray-client-server-port={free_port()}",
            ],
            self.environment,
        )  # fmt: skip
        try:
            self.here.wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lose()
        self.here.stop()
        _ip("netns", "delete", self._name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        name, inside = self._name, ("-n", self._name)
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("address", "add", f"{self.head}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip(*inside, "address", "add", f"{self.other}/30", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")

    def join(self) -> None:
        """Have the other host be a node."""
        resources = f'--resources={{"accelerator_type:{GPU}": 1}}'
        arguments = [f"--address={self.environment['RAY_ADDRESS']}", "--num-cpus=4", "--num-gpus=1", resources]
        # Its own files under the same name: the namespace's mounts are nobody else's.
        files = Path(tempfile.mkdtemp(dir=self._folder))
        mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
        through = ["ip", "netns", "exec", self._name, "sh", "-c", mount, str(files), f"{self._folder}/ray"]
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        # Where a node leaves the cluster's address for whoever comes later, on this machine too.
        environment["RAY_TMPDIR"] = str(self._folder)
        self._other = RayNode(self._folder, "other", arguments, environment, through)
        self._other.wait_until_up()

    def lose(self) -> None:
        """Kill everything of the other host's."""
        node, self._other = self._other, None
        if node is not None:
            node.kill()

    def cut(self) -> None:
        """Nothing goes through between the two from now on, and neither is told."""
        _ip("link", "set", self._name, "down")

    def mend(self) -> None:
        """Undo `cut`."""
        _ip("link", "set", self._name, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10, capture_output=True)
