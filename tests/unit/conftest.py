"""Unit tests leave nothing behind: a coroutine nobody awaits or a task's lost error fails the test that made it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: the machine may be busy with something else.
settings.register_profile("unit", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

HERE = Path(__file__).parent
STRICT = (
    "error:coroutine .* was never awaited:RuntimeWarning",
    "error::ResourceWarning",
    "error::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for rule in STRICT:
                item.add_marker(pytest.mark.filterwarnings(rule))
