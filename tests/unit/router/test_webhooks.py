"""Events are read or refused by their field."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.errors import InvalidRequest
from router.webhooks import RETRY_AFTER_S, Event, read_event, retry_after_s


@pytest.mark.parametrize(
    ("body", "event"),
    [
        (
            {"type": "job.succeeded", "data": {"name": "peft:m:j", "source": "s"}},
            Event("job.succeeded", "register", {"name": "peft:m:j", "source": "s"}),
        ),
        (
            {"type": "job.succeeded", "data": {"base_model": "m", "job_id": "j", "source": "s"}},
            Event("job.succeeded", "register", {"name": "peft:m:j", "source": "s"}),
        ),
        (
            {
                "type": "checkpoint.ready",
                "data": {"base_model": "m", "job_id": "j", "checkpoint": "c", "source": "s", "kind": "full"},
            },
            Event("checkpoint.ready", "register", {"name": "rl:m:j:c", "source": "s", "kind": "full"}),
        ),
        ({"type": "model.promote", "data": {"model": "m"}}, Event("model.promote", "promote", {"model": "m"})),
        ({"type": "model.deleted", "data": {"model": "m"}}, Event("model.deleted", "delete", {"model": "m"})),
        ({"type": "invoice.paid", "data": {"x": 1}}, Event("invoice.paid", None, {"x": 1})),
        ({"type": "ping"}, Event("ping", None, {})),
    ],
)  # fmt: skip
def test_events(body: dict[str, Any], event: Event) -> None:
    assert read_event(body) == event


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": "x" * 101}, "type"),
        ({"type": "ping", "data": []}, "data"),
        ({"type": "model.promote", "data": {}}, "data.model"),
        ({"type": "model.warmup", "data": {"model": 5}}, "data.model"),
        ({"type": "job.succeeded", "data": {"name": "peft:m:j"}}, "data.source"),
        ({"type": "job.succeeded", "data": {"source": "s", "base_model": "m"}}, "data.job_id"),
        (
            {"type": "checkpoint.ready", "data": {"source": "s", "base_model": "m", "job_id": "j", "checkpoint": 5}},
            "data.checkpoint",
        ),
    ],
)  # fmt: skip
def test_bad_events_are_named_by_their_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_event(body)
    assert caught.value.param == param


def test_retries_wait_longer_and_end() -> None:
    waits = [retry_after_s(number) for number in range(1, len(RETRY_AFTER_S) + 2)]
    assert waits == [*sorted(RETRY_AFTER_S), None]
