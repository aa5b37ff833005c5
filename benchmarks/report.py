"""The table of the gateway benchmark, and what was so when it was measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.load import LoadReport

RESULTS = Path(__file__).parent / "results"
BASELINE = "bare"
HEADER = (
    "| Streams | Path | requests/s | of bare | TTFT p50, ms | p95 | p99 | p50 above bare | between reads p99, ms"
    " | CPU ms a request | failed |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
# Processes that a request passes; everything else of the cluster is control plane.
ON_THE_WAY = {
    "bare": "bare", "haproxy": "haproxy", "ProxyActor": "ProxyActor", "Gateway": "Gateway", "Engine": "Engine",
    "router": "vllm-router", "proxy_cli": "litellm",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One measurement of one path; comparable with others of its round and repetition."""

    path: str
    num_streams: int
    repetition: int
    load: LoadReport
    cpu_s: dict[str, float]
    round: int = 0
    unstreamed: bool = False

    @property
    def cpu_ms_per_request(self) -> float:
        return sum(self.cpu_s.values()) * 1000 / max(1, self.load.num_requests)


@dataclass(frozen=True)
class Conditions:
    """When, where and with what; `load_average` is of the minute before, so it says who else was there."""

    date: str
    command: str
    cpu_model: str
    num_cores: int
    ram_gib: float
    load_average: float
    versions: dict[str, str]

    @classmethod
    def now(cls, command: str, packages: Sequence[str] = ("ray", "uvicorn")) -> Conditions:
        """Read them off this machine; the versions of Python and these packages."""
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            command=command,
            cpu_model=_cpu_model(),
            num_cores=os.cpu_count() or 0,
            ram_gib=round(psutil.virtual_memory().total / 2**30, 1),
            load_average=round(os.getloadavg()[0], 2),
            versions={"Python": platform.python_version(), **{name: version(name) for name in packages}},
        )

    def text(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.date}, `{self.command}`, {self.num_cores} cores of {self.cpu_model}, {self.ram_gib} GiB RAM,"
            f" {versions}; load average {self.load_average} at the start"
        )


def write(
    conditions: Conditions,
    samples: list[Sample],
    folder: Path,
    name: str,
    title: str,
    *,
    missing: Sequence[str] = (),
) -> str:
    """Write `NAME.md` and `NAME.json` into `folder`, with what is `missing` and why. Returns the Markdown."""
    head = f"{conditions.text()}, {os.getloadavg()[0]:.2f} at the end."
    parts = [f"# {title}", head, *(f"Not measured: {why}" for why in missing)]
    for reply, unstreamed in (("Streams", False), ("One body instead of a stream", True)):
        if group := [sample for sample in samples if sample.unstreamed == unstreamed]:
            parts += [f"## {reply}", table(group), cpu_table(group)]
    text = "\n\n".join(parts) + "\n"
    save(folder, name, text, conditions, samples, missing)
    return text


def save(
    folder: Path, name: str, text: str, conditions: Conditions, samples: Sequence[Any], missing: Sequence[str] = ()
) -> None:
    """Write a benchmark's text, and its samples (dataclasses) as JSON beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    data = {
        "conditions": asdict(conditions), "missing": list(missing), "samples": [asdict(sample) for sample in samples],
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def table(samples: list[Sample]) -> str:
    """Medians over the repetitions, a row for each number of streams and path."""
    return "\n".join([HEADER, *(_row(num_streams, group, samples) for num_streams, group in _groups(samples))])


def cpu_table(samples: list[Sample]) -> str:
    """Where the CPU time of a request goes, by kind of process; medians, milliseconds."""
    kinds = [kind for kind in ON_THE_WAY.values() if any(kind in map(_label, sample.cpu_s) for sample in samples)]
    lines = [
        f"| Streams | Path | {' | '.join(kinds)} | control plane |",
        f"| ---: | --- |{' ---: |' * (len(kinds) + 1)}",
    ]
    for num_streams, group in _groups(samples):
        cells = [_median(group, lambda sample, kind=kind: _cpu_ms(sample, kind)) for kind in [*kinds, "control plane"]]
        lines.append(f"| {num_streams} | {group[0].path} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    return "CPU milliseconds of a request, by process:\n\n" + "\n".join(lines)


def _row(num_streams: int, group: list[Sample], samples: list[Sample]) -> str:
    pairs = [(sample, _baseline(sample, samples)) for sample in group]
    ratios = [mine.load.requests_per_s / other.load.requests_per_s for mine, other in pairs]
    above = [mine.load.ttft_p50_ms - other.load.ttft_p50_ms for mine, other in pairs]
    cells = [
        str(num_streams),
        group[0].path,
        f"{_median(group, lambda sample: sample.load.requests_per_s):.1f}",
        f"{median(ratios):.3f}",
        f"{_median(group, lambda sample: sample.load.ttft_p50_ms):.1f}",
        f"{_median(group, lambda sample: sample.load.ttft_p95_ms):.1f}",
        f"{_median(group, lambda sample: sample.load.ttft_p99_ms):.1f}",
        f"{median(above):.1f}",
        f"{_median(group, lambda sample: sample.load.gap_p99_ms):.1f}",
        f"{_median(group, lambda sample: sample.cpu_ms_per_request):.2f}",
        str(sum(sum(sample.load.errors.values()) for sample in group)),
    ]
    return f"| {' | '.join(cells)} |"


def _baseline(sample: Sample, samples: list[Sample]) -> Sample:
    """What the baseline did side by side with it."""
    beside = (sample.num_streams, sample.round, sample.repetition)
    return next(
        each for each in samples if each.path == BASELINE and (each.num_streams, each.round, each.repetition) == beside
    )


def _groups(samples: list[Sample]) -> list[tuple[int, list[Sample]]]:
    """By streams and path; of the baseline, which is in every round, only the first."""
    paths = sorted({sample.path for sample in samples}, key=lambda path: (path != BASELINE, path != "raymux"))
    groups = []
    for num_streams in sorted({sample.num_streams for sample in samples}):
        for path in paths:
            group = [sample for sample in samples if sample.num_streams == num_streams and sample.path == path]
            if first := [sample for sample in group if sample.round == group[0].round]:
                groups.append((num_streams, first))
    return groups


def _median(group: list[Sample], value: Callable[[Sample], float]) -> float:
    return median(value(sample) for sample in group)


def _cpu_ms(sample: Sample, label: str) -> float:
    used_s = sum(seconds for kind, seconds in sample.cpu_s.items() if _label(kind) == label)
    return used_s * 1000 / max(1, sample.load.num_requests)


def _label(kind: str) -> str:
    """Of a kind such as `raymux:Gateway`, `benchmarks.bare` or `vllm::router`."""
    return ON_THE_WAY.get(kind.rpartition(":")[2].rpartition(".")[2], "control plane")


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return " ".join((name or platform.processor() or platform.machine()).split())
