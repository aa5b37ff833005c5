"""What the processes of gateway and manager import: what each start waits for, and memory that each keeps."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from catalog.project import PROJECT

MODULES = """
import json, sys, {module}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def imported(module: str) -> set[str]:
    command = [sys.executable, "-c", MODULES.format(module=module)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "not_needed"),
    [
        ("deployments.app", {"torch", "vllm", "transformers", "pandas", "redis", "aiohttp", "fsspec"}),
        # `--help` answers before anything is checked.
        ("deployments.serve", {"pydantic", "yaml", "ray"}),
    ],
)
def test_a_process_imports_nothing_that_it_seldom_needs(module: str, not_needed: set[str]) -> None:
    assert not imported(module) & not_needed
