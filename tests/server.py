"""A raymux server for tests: `python -m deployments.serve` as a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import yaml

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_CONFIG = PROJECT / "serve_config.yaml"

READY_LINE = "raymux: ready"
# deployments.serve gives Ray 60 s before it kills it.
STOP_TIMEOUT_S = 90
LEFTOVER_TIMEOUT_S = 15
POLL_S = 0.05
LOG_LINES_SHOWN = 60
_MARKER = "RAYMUX_TEST_SERVER"

Change = Callable[[dict[str, Any]], None]


class RunningServer:
    """A context manager around one server; entering it returns once the server says that it is ready.

    `config` is a Serve configuration. The server runs a copy of it with a free port, to which `change` (a function that
    edits the parsed document in place) has been applied. `environment` is added to this process's. Leaving stops the
    server and asserts that none of its processes is left.
    """

    # Those that run now; the report of a failed test shows what they say (tests/conftest.py).
    running: ClassVar[list[RunningServer]] = []
    # Of all of them, besides their own.
    common_arguments: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        config: Path = DEFAULT_CONFIG,
        change: Change | None = None,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        ready_timeout_s: float = 180,
    ) -> None:
        self._change = change
        self._template = config
        self._arguments = list(arguments)
        self._extra_environment = dict(environment or {})
        self._ready_timeout_s = ready_timeout_s
        self._marker = f"{_MARKER}={uuid.uuid4().hex}"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start_s = 0.0
        # Of the requests that this class and its clients send; a server with keys needs one.
        self.headers: dict[str, str] = {}

    # Life

    def __enter__(self) -> RunningServer:
        self.folder = Path(tempfile.mkdtemp(prefix="raymux-test-"))
        self.config, self.log, self.output = (self.folder / name for name in ("config.yaml", "serve.log", "output.txt"))
        self.port = free_port()
        self.write_config()
        begun_s = time.monotonic()
        try:
            with self.output.open("wb") as output:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "deployments.serve",
                        str(self.config),
                        "--log",
                        str(self.log),
                        *self._arguments,
                        *self.common_arguments,
                    ],
                    cwd=PROJECT,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - begun_s
        self.running.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def write_config(self, change: Change | None = None) -> None:
        """Write the configuration that the server runs, with a further change."""
        document = yaml.safe_load(self._template.read_text(encoding="utf-8"))
        document.setdefault("http_options", {})["port"] = self.port
        with contextlib.suppress(KeyError):
            user_config(document, "ModelManager")["store"] = str(self.folder / "raymux.db")
        for edit in (self._change, change):
            if edit is not None:
                edit(document)
        self.config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def deploy(self, change: Change) -> None:
        """Apply an edited configuration to the running server, as an operator does: `serve deploy`."""
        self.write_config(change)
        dashboard = re.findall(r"dashboard at (?:\x1b\[[0-9;]*m)*(http://[0-9.:]+)", self.log.read_text())[0]
        command = [str(Path(sys.executable).parent / "serve"), "deploy", "-a", dashboard, str(self.config)]
        environment = {**os.environ, "RAY_AUTH_MODE": "token"}
        result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr

    def _environment(self) -> dict[str, str]:
        """This process's environment, with a mark that the server's processes inherit."""
        name, _, value = self._marker.partition("=")
        return {
            **os.environ,
            # A cluster of its own, whatever else runs on this machine.
            "RAY_ADDRESS": "local",
            name: value,
            **self._extra_environment,
        }

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + self._ready_timeout_s
        while READY_LINE not in self.output.read_text(errors="replace"):
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                reason = "ended" if self._process.poll() is not None else f"is not ready in {self._ready_timeout_s} s"
                raise AssertionError(f"the server {reason}.\n{self.output.read_text(errors='replace')}\n{self.tail()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop the server as an operator does, by SIGTERM. Raises AssertionError when a process of it is left."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ValueError):
            self.running.remove(self)
        family = self.processes(process.pid)
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
                was_slow = False
            except subprocess.TimeoutExpired:
                was_slow = True
            _, left = psutil.wait_procs({*family, *self.processes(None)}, timeout=LEFTOVER_TIMEOUT_S)
            names = [describe(each) for each in left]
        finally:
            for each in {*family, *self.processes(None)}:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait()
        tail = self.tail() if was_slow or left else ""
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not was_slow, f"the server did not stop within {STOP_TIMEOUT_S} s.\n{tail}"
        assert not left, f"processes of the server are left: {names}\n{tail}"

    # What it says

    @property
    def pid(self) -> int:
        """The process to signal."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, timeout_s: float = 180) -> httpx.Client:
        """An HTTP client with the server's address as its base, and the key if it asks for one."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout_s)

    def tail(self, num_lines: int = LOG_LINES_SHOWN) -> str:
        """The end of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-num_lines:])

    def account(self) -> str:
        """What a reader of a failed test wants to know of it: its variants, and the end of its log."""
        try:
            variants = yaml.safe_dump(self.variants(), sort_keys=False)
        except httpx.HTTPError as error:
            variants = f"GET /v1/status: {error!r}"
        return f"{variants}\n{self.tail()}"

    def variants(self) -> list[dict[str, Any]]:
        """Every variant's entry of `GET /v1/status`."""
        reply = httpx.get(f"{self.url}/v1/status", headers=self.headers, timeout=10)
        reply.raise_for_status()
        return reply.json()["variants"]

    def status(self, model: str, shape: str | None = None) -> dict[str, Any]:
        """A model's entry of `GET /v1/status`: that of its first variant, or of the one with this shape."""
        for variant in self.variants():
            if variant["model"] == model and shape in (None, variant["variant"]):
                return variant
        raise AssertionError(f"GET /v1/status does not list {model}")

    def wait_for_state(self, model: str, state: str, timeout_s: float = 90) -> dict[str, Any]:
        """Return the model's status as soon as its state is this one. Raises AssertionError after the timeout."""
        return self.wait_for(model, lambda status: status["state"] == state, timeout_s, f"is {state}")

    def wait_for(
        self, model: str, is_so: Callable[[dict[str, Any]], bool], timeout_s: float, what: str = "is as expected"
    ) -> dict[str, Any]:
        """Return the model's status as soon as `is_so` holds of it. Raises AssertionError after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while not is_so(status := self.status(model)):
            if time.monotonic() > deadline_s:
                raise AssertionError(f"after {timeout_s} s not: {model} {what}. It is {status}\n{self.tail()}")
            time.sleep(POLL_S)
        return status

    # Its processes

    def replica_pids(self, model: str) -> list[int]:
        """Process ids of the model's replicas."""
        return [replica["pid"] for replica in self.status(model)["replicas"]]

    def replica_processes(self, model: str) -> list[psutil.Process]:
        """The processes of the model's replicas and everything below them, such as vLLM's engine core."""
        found: list[psutil.Process] = []
        for pid in self.replica_pids(model):
            with contextlib.suppress(psutil.NoSuchProcess):
                replica = psutil.Process(pid)
                found += [replica, *replica.children(recursive=True)]
        return found

    def engine_cores(self, model: str) -> list[psutil.Process]:
        """vLLM's engine-core processes of the model's replicas."""
        return [process for process in self.replica_processes(model) if "EngineCore" in title(process)]

    def serve_processes(self, deployment: str) -> list[psutil.Process]:
        """The processes of the replicas of `Gateway` or `ModelManager`."""
        return [each for each in self.processes(None) if f"ray::ServeReplica:raymux:{deployment}" in describe(each)]

    def serve_process(self, deployment: str) -> psutil.Process:
        """The process of its only replica."""
        (found,) = self.serve_processes(deployment)
        return found

    def wait_for_another(self, killed: psutil.Process, deployment: str, timeout_s: float = 60) -> None:
        """Wait until the deployment's only replica runs in another process than the one that was killed."""

        def is_there() -> bool:
            found = self.serve_processes(deployment)
            return len(found) == 1 and found != [killed]

        wait_until(is_there, timeout_s, f"another {deployment} runs")

    def processes(self, root: int | None) -> list[psutil.Process]:
        """Everything below the process `root`, and everything that has this server's environment."""
        found: set[psutil.Process] = set()
        if root is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {psutil.Process(root), *psutil.Process(root).children(recursive=True)}
        marker = self._marker.encode()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if marker in Path(f"/proc/{process.pid}/environ").read_bytes():
                    found.add(process)
        return [process for process in found if process.pid != os.getpid()]


# Editing a parsed configuration


def deployment_entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A deployment's entry in a parsed configuration, to be edited in place."""
    for application in document["applications"]:
        for entry in application["deployments"]:
            if entry["name"] == name:
                return entry
    raise KeyError(name)


def user_config(document: dict[str, Any], deployment: str) -> dict[str, Any]:
    """The `user_config` of `Gateway` or `ModelManager` in a parsed configuration, to be edited in place."""
    return deployment_entry(document, deployment).setdefault("user_config", {})


def model_entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A model's entry in a parsed configuration, to be edited in place."""
    return next(model for model in user_config(document, "ModelManager")["models"] if model["name"] == name)


# Small helpers


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on now.

    None that outgoing connections use, nor one of the servers' inner ones (`deployments.environment`).
    """
    for _ in range(100):
        port = 10_000 + uuid.uuid4().int % 10_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port found")


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that still run; a zombie does not."""
    return [each for each in processes if each.is_running() and _status(each) != psutil.STATUS_ZOMBIE]


def wait_gone(processes: Iterable[psutil.Process], timeout_s: float) -> float:
    """Seconds until none of the processes runs. Raises AssertionError after the timeout."""
    begun_s = time.monotonic()
    watched = list(processes)
    while left := alive(watched):
        waited_s = time.monotonic() - begun_s
        assert waited_s < timeout_s, f"still there after {timeout_s} s: {[describe(each) for each in left]}"
        time.sleep(POLL_S)
    return time.monotonic() - begun_s


def wait_until(is_so: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Seconds until `is_so` returns true. Raises AssertionError after the timeout."""
    begun_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun_s < timeout_s, f"after {timeout_s} s not: {what}"
        time.sleep(POLL_S)
    return time.monotonic() - begun_s


def describe(process: psutil.Process) -> str:
    """A process's id and the beginning of what it calls itself."""
    return f"{process.pid} {title(process)[:100]}"


def title(process: psutil.Process) -> str:
    """What a process calls itself: its command line, else its name. Any process may end at any time: `(gone)`."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "(gone)"


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE
