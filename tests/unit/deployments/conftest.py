"""What several rooms' tests start from."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.unit.deployments.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
