"""The rounds of the gateway benchmark, and what becomes of a server that does not start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gateway
from benchmarks.environments import EnvironmentFailed
from benchmarks.gateway_plot import curve
from benchmarks.load import LoadReport
from benchmarks.report import Conditions, Sample, write
from benchmarks.servers import Server, ServerFailed

CONDITIONS = Conditions("2026-01-01", "command", "CPU", 2, 1.0, 0.0, {})


def _sample(path: str, num_streams: int, rate: float, **changes: Any) -> Sample:
    load = LoadReport(10, 0, 0, rate, 1.0, 2.0, 3.0, 4.0, {})
    return Sample(path, num_streams, 0, load, {f"benchmarks.{path}": 0.1}, **changes)


@contextmanager
def _fails(error: Exception) -> Iterator[Server]:
    raise error
    yield


def test_two_ray_clusters_are_never_up_at_once_and_bare_is_in_every_round() -> None:
    first, second = gateway._rounds(gateway._options([]))
    assert set(first.starts) == {"raymux", "bare", "vllm-router"}
    assert set(second.starts) == {"plain", "bare", "litellm"}
    assert second.streams == (1, 64)
    assert second.bodies == (64,)


def test_without_slow_paths_there_is_one_round() -> None:
    (only,) = gateway._rounds(gateway._options(["--no-plain", "--peers", "vllm-router"]))
    assert "vllm-router" in only.starts
    assert len(gateway._rounds(gateway._options(["--peers"]))) == 2


@pytest.mark.parametrize("error", [EnvironmentFailed("no wheel\nthe log"), ServerFailed("no wheel\nthe log")])
def test_a_peer_that_does_not_start_is_missing_and_the_others_are_measured(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[list[str]] = []
    monkeypatch.setattr(
        gateway, "measure", lambda plan, servers, number: measured.append([each.path for each in servers]) or []
    )
    starts: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        "bare": lambda: nullcontext(Server("bare", "", 0)), "litellm": lambda: _fails(error),
    }  # fmt: skip
    missing: list[str] = []
    gateway._measure(gateway._options([]), gateway.Round(starts, (1,), (1,)), 0, missing)
    assert missing == ["litellm: no wheel"]
    assert measured == [["bare"], ["bare"]]


def test_raymux_not_starting_is_an_error() -> None:
    starts: dict[str, Callable[[], AbstractContextManager[Server]]] = {"raymux": lambda: _fails(ServerFailed("port"))}
    with pytest.raises(ServerFailed):
        gateway._measure(gateway._options([]), gateway.Round(starts, (1,), ()), 0, [])


def test_bodies_have_a_table_of_their_own_and_what_is_missing_stands_above(tmp_path: Path) -> None:
    samples = [
        _sample("bare", 64, 100), _sample("raymux", 64, 90),
        _sample("bare", 64, 100, unstreamed=True), _sample("raymux", 64, 50, unstreamed=True),
    ]  # fmt: skip
    text = write(CONDITIONS, samples, tmp_path, "gateway", "The way", missing=["litellm: no wheel"])
    head, streams, bodies = text.split("\n## ")
    assert "Not measured: litellm: no wheel" in head
    assert "0.900" in streams
    assert "0.900" not in bodies
    assert "0.500" in bodies
    assert (tmp_path / "gateway.json").exists()


def test_a_curve_of_what_is_in_two_rounds_is_of_the_first() -> None:
    samples = [_sample("bare", 1, 3), _sample("bare", 64, 190), _sample("bare", 64, 50, round=1)]
    assert curve(samples, "bare", lambda sample: sample.load.requests_per_s) == ([1, 64], [3, 190])
