"""What `make serve` says to a configuration that it must refuse: one line, with the place and what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine_server import CHAT
from tests.server import DEFAULT_CONFIG, PROJECT, model_entry, user_config


def run_with(document: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make serve` says to a configuration that it must refuse."""
    config = folder / "config.yaml"
    config.write_text(document if isinstance(document, str) else yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", "deployments.serve", str(config), "--log", str(folder / "serve.log")]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def check_refused_config(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for each in said:
        assert each in line


@pytest.fixture
def document() -> dict[str, Any]:
    """The embedded default, parsed."""
    return yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))


def test_broken_yaml_gets_one_line(tmp_path: Path):
    check_refused_config(run_with("applications:\n  - name: [raymux\n", tmp_path), "config.yaml:3:1", "not valid YAML")


def test_model_path_that_does_not_exist_gets_one_line(document: dict[str, Any], tmp_path: Path):
    model_entry(document, CHAT)["source"] = "models/nothing-here"
    check_refused_config(run_with(document, tmp_path), CHAT, "models/nothing-here")


def test_adapter_path_that_does_not_exist_gets_one_line(document: dict[str, Any], tmp_path: Path):
    user_config(document, "ModelManager")["adapters"][0]["source"] = "models/adapters/nothing-here"
    check_refused_config(run_with(document, tmp_path), "job_pirate", "models/adapters/nothing-here")


def test_unknown_setting_gets_one_line_with_its_path(document: dict[str, Any], tmp_path: Path):
    model_entry(document, CHAT)["engine"]["max_len"] = 5
    check_refused_config(run_with(document, tmp_path), "models.0.engine.max_len", "max_model_len")
