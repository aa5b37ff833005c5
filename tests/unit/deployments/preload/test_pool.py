"""The real launcher and a real pool, which has imported nothing; what Ray runs is a small script."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from deployments.preload import launcher
from deployments.preload.launcher import MAX_REQUEST_BYTES, receive
from deployments.preload.requests import differing

LAUNCHER = [sys.executable, "-S", str(Path(launcher.__file__))]
# A pool like that of `pool.main`, with no raylet, and with nothing imported but what a worker must not see.
POOL = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from deployments.preload.pool import Pool
from deployments.preload.worker import become
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[2])
    listener.listen()
    print("ready", flush=True)
    request = Pool(listener, dict(os.environ)).run(linger_s=float(sys.argv[3]))
if request is not None:
    become(request, sys.path[2:])
"""
WORKER = """
import json, os, sys
from multiprocessing import forkserver
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "arguments": sys.argv[1:],
    "variables": {name: os.environ.get(name) for name in ("ONLY_HERE", "ONLY_THERE")}, "folder": os.getcwd(),
    "project": [name for name in sys.modules if name.startswith("deployments")], "name": __name__,
    "fork_server": forkserver._forkserver._forkserver_pid,
    "descriptors": sorted(os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if int(each) > 2
                          and os.path.exists(f"/proc/self/fd/{each}")),
}), flush=True)
if "wait" in sys.argv:
    sys.stdin.read()
sys.exit(7)
"""


class Node:
    """What `private_folder` finds for a Ray node."""

    def __init__(self, folder: Path) -> None:
        (folder / "sockets").mkdir()
        self.arguments = [f"--raylet-name={folder}/sockets/raylet"]
        self.folder = launcher.private_folder(self.arguments)
        self.script = folder / "worker.py"
        self.script.write_text(WORKER, encoding="utf-8")

    def launch(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*LAUNCHER, str(self.script), *self.arguments, *arguments],
            env=environment or {**os.environ, "ONLY_HERE": "1"},
            cwd=self.folder.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> dict:
        process = self.launch(*arguments, environment=environment)
        output, _ = process.communicate(timeout=10)
        assert process.returncode == 7
        return json.loads(output)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def pool(node: Node) -> Iterator[subprocess.Popen[str]]:
    with start_pool(node, linger_s=60) as process:
        yield process
        process.kill()


def start_pool(node: Node, linger_s: float) -> subprocess.Popen[str]:
    project = str(Path(launcher.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", POOL, project, str(node.folder / "socket"), str(linger_s)],
        env={**os.environ, "ONLY_THERE": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_worker_is_forked_from_the_pool_with_the_launchers_surroundings(
    node: Node, pool: subprocess.Popen[str]
) -> None:
    told = node.run("--more", "a b")
    assert told["parent"] == pool.pid
    assert told["group"] == told["pid"], "Ray ends a worker with its process group"
    assert told["arguments"] == [*node.arguments, "--more", "a b"]
    assert told["variables"] == {"ONLY_HERE": "1", "ONLY_THERE": None}
    assert told["folder"] == str(node.folder.parent)
    assert told["name"] == "__main__"
    assert told["project"] == [], "the project's code is the one that the worker finds"
    wait_until(lambda: has_ended(told["fork_server"]))


def test_a_worker_holds_nothing_of_the_pools(node: Node, pool: subprocess.Popen[str]) -> None:
    others = [node.launch("wait") for _ in range(2)]
    for each in others:
        assert each.stdout is not None
        each.stdout.readline()
    # All that is open is the pipe by which its fork server notices its end.
    assert [each.partition(":")[0] for each in node.run()["descriptors"]] == ["pipe"]
    for each in others:
        each.communicate()


def test_without_a_pool_the_launcher_becomes_python(node: Node) -> None:
    process = node.launch()
    output, _ = process.communicate(timeout=10)
    assert (json.loads(output)["pid"], process.returncode) == (process.pid, 7)


def test_a_dead_pools_socket_is_no_pool(node: Node, pool: subprocess.Popen[str]) -> None:
    pool.kill()
    pool.wait()
    assert node.run()["parent"] == os.getpid()


def test_a_worker_that_would_have_imported_something_else_imports_by_itself(
    node: Node, pool: subprocess.Popen[str]
) -> None:
    told = node.run(environment={**os.environ, "VLLM_TARGET_DEVICE": "odd"})
    assert told["parent"] == os.getpid()


def test_an_environment_that_is_too_large_for_the_pool_is_none_of_its_business(
    node: Node, pool: subprocess.Popen[str]
) -> None:
    large = {f"LARGE_{number}": "a" * 100_000 for number in range(12)}
    assert node.run(environment={**os.environ, **large})["parent"] == os.getpid()


def test_a_pool_that_ends_before_it_answers_costs_the_worker(node: Node) -> None:
    """It may have forked already, and Ray would have two workers by one id."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.folder / "socket"))
        listener.listen()
        with node.launch() as process:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"+")
                # All of the request: a pool that ends before it has that cannot have forked.
                left = int.from_bytes(receive(connection, 4), "big")
                assert len(receive(connection, left)) == left
            output, _ = process.communicate(timeout=10)
    assert (output, process.returncode) == ("", 1)


def test_a_killed_launcher_takes_its_worker_with_it(node: Node, pool: subprocess.Popen[str]) -> None:
    with node.launch("wait") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.kill()
        wait_until(lambda: has_ended(told["pid"]))
    wait_until(lambda: has_ended(told["fork_server"]))
    assert node.run()["parent"] == pool.pid


def test_a_killed_workers_launcher_dies_of_the_same_signal(node: Node, pool: subprocess.Popen[str]) -> None:
    with node.launch("wait") as process:
        assert process.stdout is not None
        os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


def test_a_worker_outlives_the_pool_unless_it_keeps_it(node: Node, pool: subprocess.Popen[str]) -> None:
    with node.launch("wait") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        pool.kill()
        pool.wait()
        assert process.wait(10) == 1
        assert psutil.Process(told["pid"]).is_running()
        psutil.Process(told["pid"]).kill()


def test_the_pool_ends_when_its_last_worker_has(node: Node) -> None:
    with start_pool(node, linger_s=0.3) as pool, node.launch("wait") as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            pool.wait(0.6)
        process.communicate()
        assert pool.wait(10) == 0


@pytest.mark.parametrize("noise", [b"", b"\0", b"\0\0\0\2{}", (MAX_REQUEST_BYTES + 1).to_bytes(4, "big")])
def test_noise_on_the_socket_harms_nobody(node: Node, pool: subprocess.Popen[str], noise: bytes) -> None:
    with launcher.open_pool(node.folder, 5) as connection:
        connection.sendall(noise)
    assert node.run()["parent"] == pool.pid


@pytest.mark.parametrize(("draws", "status"), [("pass", 0), ("ray.WorkerID.from_random()", 1)])
def test_a_pool_whose_workers_would_draw_the_same_ids_does_not_start(draws: str, status: int) -> None:
    code = f"import ray; {draws}; from deployments.preload.imports import require_distinct_ids; require_distinct_ids()"
    project = Path(launcher.__file__).parents[2]
    process = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert process.returncode == status
    assert ("RuntimeError" in process.stderr) == bool(status)


def test_only_one_process_may_be_the_pool(node: Node) -> None:
    lock = launcher.take_lock(node.folder)
    assert lock is not None
    assert launcher.take_lock(node.folder) is None
    os.close(lock)


def test_the_folder_is_for_one_user_only(node: Node) -> None:
    assert node.folder.stat().st_mode & 0o777 == 0o700
    node.folder.chmod(0o770)
    with pytest.raises(launcher.NoPool):
        launcher.private_folder(node.arguments)
    node.folder.rmdir()
    node.folder.symlink_to(node.folder.parent / "sockets")
    with pytest.raises(launcher.NoPool):
        launcher.private_folder(node.arguments)


def test_a_worker_of_no_raylet_has_no_pool() -> None:
    with pytest.raises(launcher.NoPool):
        launcher.private_folder(["worker.py", "--raylet-name="])


def test_only_variables_that_imports_read_make_a_difference() -> None:
    own = {"VLLM_LOGGING_LEVEL": "INFO", "PYTHONPATH": "/a", "RAY_JOB_ID": "1"}
    assert differing({"VLLM_LOGGING_LEVEL": "INFO", "PYTHONPATH": "/b", "HOME": "/"}, own) == []
    assert differing({"OMP_NUM_THREADS": "1"}, own) == ["OMP_NUM_THREADS", "VLLM_LOGGING_LEVEL"]
