"""The table of targets: figures from samples that were measured side by side, and what is missing is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.targets import (
    TARGETS,
    Target,
    compared,
    of_most_models,
    of_one_gateway,
    row,
    soak_slope,
    table,
    verdict,
    worst_choice,
)

CONDITIONS = {"date": "2026-01-01 00:00 UTC", "num_cores": 2, "cpu_model": "CPU"}
TARGET = Target("a ratio", "file", lambda data: data["figure"], at_least=0.9, name="peer")


def _sample(path: str, rate: float, *, round_: int = 0, repetition: int = 0, **changes: Any) -> dict[str, Any]:
    load = {"requests_per_s": rate, "ttft_p50_ms": 1000 / rate, "num_requests": 10, "errors": {}}
    fields = {"path": path, "num_streams": 64, "round": round_, "repetition": repetition, "load": load, "cpu_s": {}}
    return fields | changes


def _ratio(mine: dict[str, Any], other: dict[str, Any]) -> float:
    return mine["load"]["requests_per_s"] / other["load"]["requests_per_s"]


def _compared(samples: list[dict[str, Any]], **changes: Any) -> float | None:
    return compared("raymux", "bare", {"samples": samples}, num_streams=64, compare=_ratio, **changes)


def test_a_ratio_is_of_samples_of_the_same_round_and_repetition() -> None:
    samples = [
        _sample("raymux", 90, repetition=0), _sample("bare", 100, repetition=0),
        _sample("raymux", 40, repetition=1), _sample("bare", 50, repetition=1),
        _sample("raymux", 99, repetition=2), _sample("bare", 100, repetition=2),
        _sample("bare", 1000, round_=1, repetition=0),
    ]  # fmt: skip
    assert _compared(samples) == pytest.approx(0.9)


def test_streams_and_bodies_are_not_mixed() -> None:
    bodies = [_sample("raymux", 50, unstreamed=True), _sample("bare", 100, unstreamed=True)]
    assert _compared([_sample("raymux", 90), _sample("bare", 100), *bodies]) == pytest.approx(0.9)
    assert _compared(bodies) is None
    assert _compared(bodies, unstreamed=True) == pytest.approx(0.5)


def test_gateways_are_compared_by_their_shares_of_the_bare_beside_them() -> None:
    data = {
        "samples": [
            _sample("1 gateway", 50, num_streams=256), _sample("bare", 100, num_streams=256),
            _sample("2 gateways", 40, round_=1, num_streams=256), _sample("bare", 50, round_=1, num_streams=256),
        ]
    }  # fmt: skip
    assert of_one_gateway(2, data) == pytest.approx(1.6)
    assert of_one_gateway(4, data) is None


def test_the_worst_number_of_gateways_counts() -> None:
    samples = [
        {"load_ratio": 0.7, "num_gateways": number, "contender": contender, "mean_s": mean_s}
        for number, contender, mean_s in ((1, "raymux", 1.0), (1, "other", 2.0), (4, "raymux", 3.0), (4, "other", 4.0))
    ]
    assert worst_choice(0.7, "other", {"samples": samples}) == pytest.approx(0.75)
    assert worst_choice(0.5, "other", {"samples": samples}) is None


def test_the_first_minute_of_a_soak_is_not_in_the_slope() -> None:
    def minute(number: int, used_mib: float) -> dict[str, Any]:
        return {"number": number, "rate": 1.0, "load": {}, "memory_mib": {"all": used_mib}, "num_fds": {"all": 1}}

    data = {"samples": [minute(1, 0), minute(2, 100), minute(3, 103), minute(4, 106)]}
    assert soak_slope(lambda each: each["memory_mib"]["all"], data) == pytest.approx(3)


def test_many_models_are_compared_with_the_fewest() -> None:
    samples = [{"num_models": number, "used": used} for number, used in ((1, 10), (1, 12), (1000, 50), (1000, 54))]
    used = of_most_models(lambda each: each["used"], {"samples": samples})
    more = of_most_models(lambda each: each["used"], {"samples": samples}, above_fewest=True)
    assert (used, more) == (52, 41)
    assert of_most_models(lambda each: each["used"], {"samples": samples[:2]}) is None


def test_a_figure_is_met_by_its_own_digits_not_by_the_printed_ones() -> None:
    assert verdict(TARGET, 0.9) == "yes"
    assert verdict(TARGET, 0.8999) == "**no**"
    assert verdict(replace(TARGET, at_least=None, at_most=0.9), 0.9001) == "**no**"
    assert verdict(replace(TARGET, at_least=None), 0.0) == "-"


def test_what_was_not_measured_says_so_with_the_reason() -> None:
    assert "not measured" in row(TARGET, None)
    data = {"conditions": CONDITIONS, "figure": None, "missing": ["peer: pip did not install it", "other: x"]}
    assert "not measured: pip did not install it" in row(TARGET, data)
    assert "| 0.950 | yes | 2026-01-01" in row(TARGET, data | {"figure": 0.95})


def test_every_target_has_a_row_though_nothing_was_measured(tmp_path: Path) -> None:
    assert table(tmp_path).count("not measured") == len(TARGETS)


def test_files_that_have_no_sample_of_a_target_are_read(tmp_path: Path) -> None:
    for name in {target.file for target in TARGETS}:
        (tmp_path / f"{name}.json").write_text(json.dumps({"conditions": CONDITIONS, "samples": []}))
    assert table(tmp_path).count("not measured") == len(TARGETS)
