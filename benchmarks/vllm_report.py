"""The tables of the vLLM benchmark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.load import LoadReport
from benchmarks.report import Conditions, Sample, save
from benchmarks.vllm_peers import DEFAULT, REFERENCE

COLUMNS = (
    "Streams", "Server", "requests/s", f"of {REFERENCE}", f"of {DEFAULT}", "of 1 stream", "TTFT p50, ms", "p95", "p99",
    f"p50 above {REFERENCE}", "between reads p99, ms", "CPU ms a request", "failed",
)  # fmt: skip


def write(conditions: Conditions, work: str, samples: list[Sample], folder: Path) -> str:
    """Write `vllm-WORK.md` and `.json` into `folder`. Returns the Markdown."""
    head = f"{conditions.text()}, {os.getloadavg()[0]:.2f} at the end."
    text = "\n\n".join([f"# Next to vLLM's own server: {work}", head, table(samples)]) + "\n"
    save(folder, f"vllm-{work}", text, conditions, samples)
    return text


def table(samples: list[Sample]) -> str:
    """A row for each number of streams and server: medians over repetitions, of ratios within each."""
    keys = dict.fromkeys((sample.num_streams, sample.path) for sample in samples)
    lines = [COLUMNS, ["---:" if title != "Server" else "---" for title in COLUMNS]]
    lines += [_row(samples, num_streams, name) for num_streams, name in sorted(keys, key=lambda key: key[0])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rate_ratio(samples: list[Sample], num_streams: int, name: str, baseline: str) -> float | None:
    """Requests/s over the baseline's in the same round and repetition; the median. None if either was not measured."""
    return _compared(
        samples, num_streams, name, baseline, lambda mine, other: mine.requests_per_s / other.requests_per_s
    )


def ttft_above_ms(samples: list[Sample], num_streams: int, name: str, baseline: str) -> float | None:
    """TTFT p50 less the baseline's in the same round and repetition; the median. None if either was not measured."""
    return _compared(samples, num_streams, name, baseline, lambda mine, other: mine.ttft_p50_ms - other.ttft_p50_ms)


def _compared(
    samples: list[Sample],
    num_streams: int,
    name: str,
    baseline: str,
    compare: Callable[[LoadReport, LoadReport], float],
) -> float | None:
    others = {(each.round, each.repetition): each.load for each in _of(samples, num_streams, baseline)}
    mine = _of(samples, num_streams, name)
    values = [
        compare(each.load, others[each.round, each.repetition])
        for each in mine
        if (each.round, each.repetition) in others
    ]
    return median(values) if values else None


def _row(samples: list[Sample], num_streams: int, name: str) -> list[str]:
    group = _of(samples, num_streams, name)
    fewest = min(sample.num_streams for sample in samples)
    one = median(each.load.requests_per_s for each in _of(samples, fewest, name))
    rate = median(each.load.requests_per_s for each in group)
    return [
        str(num_streams),
        name,
        f"{rate:.1f}",
        _text(rate_ratio(samples, num_streams, name, REFERENCE), 2),
        _text(rate_ratio(samples, num_streams, name, DEFAULT), 2),
        f"{rate / one:.1f}",
        *(f"{median(getattr(each.load, field) for each in group):.1f}" for field in _TTFTS),
        _text(ttft_above_ms(samples, num_streams, name, REFERENCE), 1),
        f"{median(each.load.gap_p99_ms for each in group):.1f}",
        f"{median(each.cpu_ms_per_request for each in group):.1f}",
        str(sum(sum(each.load.errors.values()) for each in group)),
    ]


_TTFTS = ("ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms")


def _of(samples: list[Sample], num_streams: int, name: str) -> list[Sample]:
    return [sample for sample in samples if sample.num_streams == num_streams and sample.path == name]


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
