"""Counts that are sent, kept and added up come out as they went in."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from deployments.metric_families import Snapshot, counted, exposition, from_json, merged, snapshot, to_json


def counts(requests: float, waiting: float, *durations: float) -> Snapshot:
    registry = CollectorRegistry()
    Counter("requests", "Requests.", ("model",), registry=registry).labels("a").inc(requests)
    Gauge("waiting", "Waiting.", registry=registry).set(waiting)
    histogram = Histogram("duration_ms", "Duration.", buckets=(1, 10), registry=registry)
    for duration in durations:
        histogram.observe(duration)
    return snapshot(registry)


def values(snapshot: Snapshot) -> dict[str, float]:
    text = exposition(snapshot).decode()
    return {
        f"{sample.name}{sample.labels.get('le', '')}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_gauges_and_buckets_are_added_up() -> None:
    total = values(merged([counts(2, 1, 0.5, 5), counts(3, 4, 100)]))
    assert total == {
        "requests_total": 5, "waiting": 5, "duration_ms_bucket1.0": 1, "duration_ms_bucket10.0": 2,
        "duration_ms_bucket+Inf": 3, "duration_ms_count": 3, "duration_ms_sum": 105.5,
    }  # fmt: skip


def test_adding_up_changes_none_of_the_parts() -> None:
    first = counts(2, 1)
    before = values(first)
    merged([first, counts(3, 4)])
    assert values(first) == before


def test_of_an_ended_process_only_what_it_counted_remains() -> None:
    assert "waiting" not in values(counted(counts(2, 1)))
    assert values(counted(counts(2, 1)))["requests_total"] == 2


def test_json_keeps_everything() -> None:
    kept = from_json(json.loads(json.dumps(to_json(counts(2, 1, 5)))))
    assert values(kept) == values(counts(2, 1, 5))


@pytest.mark.parametrize("value", [[1], [["a"]], [["a", "counter", "h", [["a", [], "x"]]]], "text", 5])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        from_json(value)  # type: ignore[arg-type]
