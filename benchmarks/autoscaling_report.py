"""The table of the autoscaling benchmark with its targets, and its plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np

from autoscaling.simulator.costs import Outcome
from autoscaling.simulator.replay import Run
from autoscaling.simulator.workload import DAY_S
from benchmarks.report import Conditions

BASELINES = ("Ray Serve, target 2", "Ray Serve LLM")
HEADER = (
    "| Mix | Policy | GPU-hours | of Ray, target 2 | of Ray LLM | of its oracle | node dollars | in time, requests"
    " | in time, mean of models |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)
# Mix, policy, what its GPU-hours are divided by, and the most that may be.
TARGETS = (
    ("medium", "raymux", "Ray", 0.90),
    ("medium", "raymux, sleep", "Ray", 0.45),
    ("medium", "raymux", "oracle", 2.0),
    ("medium", "raymux, sleep", "oracle, sleep", 2.0),
    ("busy", "raymux", "Ray", 0.70),
    ("busy", "raymux, sleep", "Ray", 0.70),
    ("sparse", "raymux", "Ray", 0.25),
    ("sparse", "raymux, sleep", "Ray", 0.25),
)


class Row(NamedTuple):
    """The figures of one policy on one mix and seed."""

    mix: str
    policy: str
    seed: int
    outcome: Outcome


def write(
    conditions: Conditions, rows: Sequence[Row], seeds: tuple[int, ...], folder: Path, drawn: dict[str, Run]
) -> str:
    """Write the table and the plots into the folder; the text of the table."""
    means = {key: _mean(rows, *key) for key in dict.fromkeys((row.mix, row.policy) for row in rows)}
    lines = [HEADER, *(_line(means, *key) for key in means), "", *_target_lines(means)]
    text = "\n".join(lines)
    head = (
        "# Autoscaling policies on replayed traces\n\n"
        f"{conditions.date}, `{conditions.command}`, seeds {', '.join(map(str, seeds))} (means over them), "
        f"{conditions.cpu_model}, {conditions.num_cores} cores, Ray {conditions.versions.get('ray', '?')}.\n"
        "Simulated, not measured; `docs/autoscaling.md` says how, and what the simulator leaves out.\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    plots = _plots(means, folder, drawn)
    (folder / "autoscaling.md").write_text(f"{head}\n{text}\n\n{plots}\n")
    return f"{text}\n\n{plots}"


def _mean(rows: Sequence[Row], mix: str, policy: str) -> Outcome:
    found = [row.outcome for row in rows if (row.mix, row.policy) == (mix, policy)]
    return Outcome(*(mean(column) for column in zip(*found, strict=True)))


def _line(means: dict[tuple[str, str], Outcome], mix: str, policy: str) -> str:
    figures = means[mix, policy]
    oracle = "oracle, sleep" if policy.endswith("sleep") else "oracle"
    ratios = [_ratio(means, mix, policy, base) for base in (*BASELINES, oracle)]
    dollars = "" if np.isnan(figures.node_usd) else f"{figures.node_usd:,.0f}"
    return (
        f"| {mix} | {policy} | {figures.gpu_hours:,.0f} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} | {dollars}"
        f" | {figures.request_attainment:.4f} | {figures.model_attainment:.4f} |"
    )


def _ratio(means: dict[tuple[str, str], Outcome], mix: str, policy: str, base: str) -> float:
    if (mix, base) not in means:
        return float("nan")
    return means[mix, policy].gpu_hours / max(1e-9, means[mix, base].gpu_hours)


def _target_lines(means: dict[tuple[str, str], Outcome]) -> list[str]:
    """Each target against each of Ray's settings: met only with both attainments no worse than Ray's."""
    lines = [
        "| Mix | Policy | GPU-hours of | Target | Figure | Attainment no worse | |",
        "| --- | --- | --- | ---: | ---: | --- | --- |",
    ]
    for mix, policy, base, most in TARGETS:
        for against in BASELINES if base == "Ray" else (base,):
            if (mix, policy) not in means or (mix, against) not in means:
                continue
            ratio, is_as_good = _ratio(means, mix, policy, against), True
            if base == "Ray":
                is_as_good = _is_no_worse(means[mix, policy], means[mix, against])
            verdict = "met" if ratio <= most and is_as_good else "**missed**"
            shown = "-" if base != "Ray" else "yes" if is_as_good else "no"
            lines.append(f"| {mix} | {policy} | {against} | {most:.2f} | {ratio:.2f} | {shown} | {verdict} |")
    return lines


def _is_no_worse(ours: Outcome, theirs: Outcome) -> bool:
    return ours.request_attainment >= theirs.request_attainment and ours.model_attainment >= theirs.model_attainment


def _plots(means: dict[tuple[str, str], Outcome], folder: Path, drawn: dict[str, Run]) -> str:
    """Draw what can be drawn; Markdown that shows it, or says why there is none."""
    try:
        import matplotlib
    except ImportError:
        return "No plots: matplotlib is not installed."
    matplotlib.use("Agg")
    from matplotlib import pyplot

    mix = next(iter(means))[0]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for axis, field, label in zip(
        axes, ("request_attainment", "model_attainment"), ("requests", "models"), strict=True
    ):
        for (of, policy), figures in means.items():
            if of == mix:
                axis.scatter(getattr(figures, field), figures.gpu_hours)
                axis.annotate(policy, (getattr(figures, field), figures.gpu_hours), fontsize=7)
        axis.set_xlabel(f"share in time, {label} ({mix})")
    axes[0].set_ylabel("GPU-hours")
    figure.tight_layout()
    figure.savefig(folder / "autoscaling_cost.png", dpi=90)
    _draw_day(pyplot, folder, drawn)
    return "![cost against attainment](autoscaling_cost.png)\n\n![a day's replicas](autoscaling_day.png)"


def _draw_day(pyplot, folder: Path, drawn: dict[str, Run]) -> None:
    """The second day: replicas that hold GPUs, of each model as a row, and of one policy a panel."""
    shown = [name for name in ("Ray Serve, target 2", "raymux", "raymux, sleep") if name in drawn]
    figure, axes = pyplot.subplots(1, max(1, len(shown)), figsize=(12, 5), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], shown, strict=False):
        grid = np.array([_counts_at(counts, DAY_S + np.arange(288) * 300.0) for counts in drawn[name].counts])
        image = axis.imshow(grid, aspect="auto", cmap="viridis", extent=(0, 24, len(grid), 0), vmin=0, vmax=6)
        axis.set_title(name)
        axis.set_xlabel("hour of day 2")
        figure.colorbar(image, ax=axis)
    axes[0][0].set_ylabel("model")
    figure.tight_layout()
    figure.savefig(folder / "autoscaling_day.png", dpi=80)


def _counts_at(changes: list[tuple[float, int]], times_s: np.ndarray) -> np.ndarray:
    changed_s = np.array([time_s for time_s, _ in changes])
    counts = np.array([0, *(count for _, count in changes)])
    return counts[np.searchsorted(changed_s, times_s, side="right")]
