from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from catalog.catalog import VariantSpec
from catalog.models import EngineSettings
from deployments.preload.keeper import PoolKeeper, py_executable
from tests.unit.builders import CHAT, variant

EMULATED = variant()
ON_CPU = replace(EMULATED, engine=EngineSettings(kind="vllm"))
ON_GPUS = replace(variant(CHAT, "H100:4"), engine=EngineSettings(kind="vllm"))


class Actors:
    """How many actors were started and stopped."""

    def __init__(self) -> None:
        self.started: list[object] = []
        self.stopped: list[object] = []
        self.keeper = PoolKeeper(self._start, self.stopped.append)

    def _start(self) -> object:
        self.started.append(object())
        return self.started[-1]

    def follow(self, *variants: VariantSpec, is_wanted: bool = True) -> bool:
        return self.keeper.follow(variants, is_wanted=is_wanted)


def test_a_pool_is_kept_only_for_vllm_on_the_cpu() -> None:
    actors = Actors()
    assert not actors.follow(EMULATED, ON_GPUS)
    assert actors.started == []
    assert actors.follow(EMULATED, ON_CPU)
    assert actors.follow(ON_CPU)
    assert len(actors.started) == 1


def test_a_pool_that_is_turned_off_goes_and_can_come_back() -> None:
    actors = Actors()
    assert not actors.follow(ON_CPU, is_wanted=False)
    assert actors.started == []
    assert actors.follow(ON_CPU)
    assert not actors.follow(ON_CPU, is_wanted=False)
    assert actors.stopped == actors.started
    assert actors.follow(ON_CPU)
    assert len(actors.started) == 2


def test_the_executable_is_a_command_that_a_shell_takes() -> None:
    python, option, launcher, keep = shlex.split(py_executable(keep=True))
    assert Path(python).exists()
    assert Path(launcher).exists()
    assert (option, keep) == ("-S", "--keep")
    assert shlex.split(py_executable()) == [python, option, launcher]
