"""A node of a Ray cluster, `ray start --block`, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.server import PROJECT, free_port, title, wait_gone

START_TIMEOUT_S = 90


class RayNode:
    """Starts the node; `wait_until_up` returns when it runs. Its log lies in `folder`, its session in `folder/ray`.

    `through` is the command by which it is run, such as one that runs it on another host.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        through: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._log_file = folder / f"{name}.log"
        common = [
            "--block", "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}",
            "--object-store-memory=200000000",
        ]  # fmt: skip
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*through, sys.executable, "-m", "ray.scripts.scripts", "start", *common, *arguments],
                cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def wait_until_up(self) -> None:
        """Raises AssertionError when it does not start in time."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while "Ray runtime started" not in (text := self._log_file.read_text(errors="replace")):
            assert self._process.poll() is None, f"the node ended:\n{text}"
            assert time.monotonic() < deadline_s, f"the node did not start:\n{text}"
            time.sleep(0.1)

    def family(self) -> set[psutil.Process]:
        """Everything that descends from it, and is not its own process."""
        if self._process.poll() is not None:
            return set()
        return {*psutil.Process(self._process.pid).children(recursive=True)}

    def stop(self) -> None:
        """End it, and every process that has its files in the folder."""
        family = self.family()
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        end({*family, *(each for each in psutil.process_iter() if str(self._folder) in title(each))})

    def kill(self) -> None:
        """End it and all that descends from it without a chance to say so, as `kill -9` on its machine would."""
        family = self.family()
        self._process.kill()
        self._process.wait()
        end(family)


def end(processes: set[psutil.Process]) -> None:
    """Kill all of them but this one."""
    others = [each for each in processes if each.pid != os.getpid()]
    for process in others:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_gone(others, 15)
