from __future__ import annotations

import re

import pytest

from deployments.request_id import request_id
from tests.unit.builders import http_scope


@pytest.mark.parametrize("given", ["abc", "req-1", "A.b_c-9", "x" * 128])
def test_a_callers_harmless_id_is_kept(given: str) -> None:
    assert request_id(http_scope(x_request_id=given)) == given


@pytest.mark.parametrize("given", ["", "a b", "a\nstatus=200", "a=b", "x" * 129, "é", '"', "<script>"])
def test_another_id_is_replaced(given: str) -> None:
    found = request_id({**http_scope(), "headers": [(b"x-request-id", given.encode())]})
    assert re.fullmatch(r"req-[0-9a-f]{32}", found)


def test_ids_are_unique() -> None:
    assert len({request_id(http_scope()) for _ in range(100)}) == 100
