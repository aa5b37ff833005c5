"""What several rooms' tests start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.deployments.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    with Site().open() as server:
        yield server
