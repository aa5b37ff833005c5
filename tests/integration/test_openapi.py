"""Whatever the OpenAPI document allows, and much that it does not, gets an answer that the document promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.calls import ADMIN_KEY
from tests.server import RunningServer

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# The emulated engine takes its time for each token, however many are asked for.
MAX_TOKENS = 3
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "n")


def shorten(value: Any) -> Any:
    """The same body, with no more tokens than a test has time for."""
    if isinstance(value, dict):
        return {
            key: min(each, MAX_TOKENS) if key in _LENGTHS and isinstance(each, int | float) else shorten(each)
            for key, each in value.items()
        }
    return [shorten(each) for each in value] if isinstance(value, list) else value


def check_operation(operation: Any, mode: GenerationMode, **options: Any) -> None:
    """Send 25 requests, which the document allows or does not, and check every answer."""

    @settings(max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.body = shorten(case.body)
        case.call_and_validate(checks=CHECKS, timeout=30, **options)

    check()


def test_every_answer_is_as_promised(server: RunningServer, subtests: pytest.Subtests) -> None:
    # A stream of events has no end that a request could wait for.
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path="/v1/events")
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with subtests.test(operation=operation.label, mode=mode.value), _unless_nothing_can_be_wrong():
                check_operation(operation, mode, headers=headers)


@contextmanager
def _unless_nothing_can_be_wrong() -> Iterator[None]:
    """An endpoint without parameters and body, asked without a key, cannot be sent anything that is not allowed."""
    try:
        yield
    except Unsatisfiable:
        pass
