"""The table of the soak, and its slopes."""

from __future__ import annotations

import pytest

from benchmarks.load import LoadReport
from benchmarks.soak import Minute, drift_text, slope, table


def _minute(number: int, memory_mib: float, errors: dict[str, int] | None = None) -> Minute:
    load = LoadReport(100, 0, 0, 10.0, 5.0, 6.0, 20.0 - number, 8.0, errors or {})
    return Minute(number, 10.0, load, {"Gateway": memory_mib, "all": memory_mib + 1}, {"Gateway": 40, "all": 90})


def test_what_grows_steadily_has_its_growth_as_slope() -> None:
    minutes = [_minute(number, 100 + 2 * number) for number in range(1, 6)]
    assert slope(minutes, lambda minute: minute.memory_mib["Gateway"]) == pytest.approx(2)
    assert "TTFT p99 -1.00 ms, memory of all processes +2.00 MiB" in drift_text(minutes)


def test_two_minutes_have_no_slope() -> None:
    assert slope([_minute(1, 1), _minute(2, 9)], lambda minute: minute.memory_mib["all"]) == 0


def test_the_table_has_a_row_a_minute_and_only_kinds_that_were_seen() -> None:
    head, _, first, second = table([_minute(1, 100), _minute(2, 101, {"HTTP 503": 3})]).splitlines()
    assert "Gateway" in head
    assert "haproxy" not in head
    assert "| 100.0 (40) | 101.0 (90) |" in first
    assert second.startswith("| 2 | 100 | 3 |")
