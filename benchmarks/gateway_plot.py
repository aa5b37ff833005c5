"""The plot of the gateway benchmark: requests per second and time to the first token, over the number of streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.report import Sample


def draw(samples: list[Sample], folder: Path, name: str = "gateway") -> None:
    """Write `NAME.png`: a line for each path, medians over the repetitions; nothing without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    streamed = [sample for sample in samples if not sample.unstreamed]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4))
    panels: tuple[tuple[str, Callable[[Sample], float]], ...] = (
        ("requests/s", lambda sample: sample.load.requests_per_s),
        ("TTFT p50, ms", lambda sample: sample.load.ttft_p50_ms),
        ("CPU ms a request", lambda sample: sample.cpu_ms_per_request),
    )
    for axis, (label, value) in zip(axes, panels, strict=True):
        for path in dict.fromkeys(sample.path for sample in streamed):
            axis.plot(*curve(streamed, path, value), marker="o", label=path)
        axis.set(xscale="log", yscale="log", xlabel="streams", ylabel=label)
        axis.set_xticks(sorted({sample.num_streams for sample in streamed}))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / f"{name}.png", dpi=90)


def curve(samples: list[Sample], path: str, value: Callable[[Sample], float]) -> tuple[list[int], list[float]]:
    """Numbers of streams, and the median of each, of the first round that a path is in."""
    mine = [sample for sample in samples if sample.path == path]
    first = min(sample.round for sample in mine)
    streams = sorted({sample.num_streams for sample in mine if sample.round == first})
    return streams, [
        median(value(sample) for sample in mine if (sample.num_streams, sample.round) == (number, first))
        for number in streams
    ]
