"""The validators of deploy/ and .github/, in an environment of their own (validators.txt), made when first needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.environments import isolated


class Validators:
    """Runs one of the programs that validators.txt brings."""

    def __init__(self, python: Path) -> None:
        self.python = python

    def run(self, program: str, *arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        """The program's result, whatever its exit code."""
        command: Sequence[str | Path] = [self.python.parent / program, *arguments]
        # Its file is not asked for by its environment's name, and nothing outside is asked at all.
        environment = {**os.environ, "PATH": f"{self.python.parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
        return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=120)

    def accept(self, program: str, *arguments: str | Path, text: str = "") -> str:
        """What the program prints. Raises AssertionError unless it finds no fault."""
        done = self.run(program, *arguments, text=text)
        assert done.returncode == 0, f"{program}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def validators() -> Validators:
    return Validators(isolated("validators", locks=Path(__file__).parent))
