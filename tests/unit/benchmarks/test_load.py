import argparse
import json
from collections import Counter
from typing import Any

import pytest

from benchmarks.load import Client, Load, model_names, percentile_ms, zipf_weights


def _load(**changes: Any) -> Load:
    options = {
        "url": "http://127.0.0.1:1/v1/chat/completions", "model": "m", "models": 1, "tokens": 4, "duration_s": 1.0,
        "warm_up_s": 0.0, "rate": None, "unstreamed": False, "any_events": False, "embed": False,
        "each_port": False,
    }  # fmt: skip
    return Load.parse(argparse.Namespace(**(options | changes)))


def _model(raw: bytes) -> str:
    return json.loads(raw.partition(b"\r\n\r\n")[2])["model"]


def test_one_model_keeps_its_name_and_several_are_numbered():
    assert model_names("m", 1) == ["m"]
    assert [_model(raw) for raw in _load(models=3).requests] == ["m-1", "m-2", "m-3"]


def test_a_request_is_framed_by_its_own_length():
    for raw in _load(models=12).requests:
        head, _, body = raw.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head


def test_models_are_asked_for_by_zipfs_law_and_the_same_in_every_run():
    load = _load(models=20)
    first, second = Client(load), Client(load)
    drawn = [_model(first._next()[1]) for _ in range(20_000)]
    assert drawn == [_model(second._next()[1]) for _ in range(20_000)]
    counts, total = Counter(drawn), sum(zipf_weights(20))
    for rank in (1, 2, 10, 20):
        assert counts[f"m-{rank}"] / len(drawn) == pytest.approx(1 / rank / total, rel=0.15)


def test_models_may_have_ports_of_their_own():
    assert _load(models=3).ports == (1, 1, 1)
    assert _load(models=3, each_port=True).ports == (1, 2, 3)


def test_a_stream_has_an_event_for_each_token_and_the_end():
    assert _load().num_events == 5
    assert _load(any_events=True).num_events == 0
    assert _load(unstreamed=True).num_events is None


def test_percentiles_are_values_that_were_measured():
    assert percentile_ms([], 0.5) == 0
    assert percentile_ms([0.003, 0.001, 0.002], 0.5) == pytest.approx(2)
    assert percentile_ms([0.001] * 98 + [0.009] * 2, 0.99) == pytest.approx(9)
