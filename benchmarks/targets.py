"""`python -m benchmarks targets`: the targets, with what the other benchmarks have measured last beside them.

It measures nothing: it reads the JSON files in `results/`. A figure without a target is there to compare with; what was
not measured says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.gateways import path_of
from benchmarks.report import RESULTS
from benchmarks.soak import MOST_STREAMS, Minute, slope

Json = dict[str, Any]
Figure = Callable[[Json], float | None]
HEADER = "| Target | Bound | Figure | Met | Measured |\n| --- | ---: | ---: | --- | --- |"
VLLM_OWN = {"vllm": "vLLM's server", "vllm-uniproc": "vLLM's server, one process"}


@dataclass(frozen=True)
class Target:
    """One row. `figure` reads a benchmark's JSON: None where nothing was measured; `name` is what may be missing."""

    text: str
    file: str
    figure: Figure
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    name: str = ""


def main(arguments: list[str]) -> int:
    """Print the table and write it down; 0 whatever is met, since a miss has its reasons on the result page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks targets", description="Targets beside figures.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files, and for targets.md")
    options = parser.parse_args(arguments)
    text = table(options.results)
    (options.results / "targets.md").write_text(f"# Targets\n\n{text}\n", encoding="utf-8")
    print(text)
    return 0


def table(folder: Path) -> str:
    """A row for each target, in the order of `TARGETS`."""
    files = {target.file: _read(folder / f"{target.file}.json") for target in TARGETS}
    return "\n".join([HEADER, *(row(target, files[target.file]) for target in TARGETS)])


def row(target: Target, data: Json | None) -> str:
    """One line of the table."""
    bound = "-"
    if target.at_least is not None:
        bound = f"≥ {target.at_least:g}"
    if target.at_most is not None:
        bound = f"≤ {target.at_most:g}"
    figure = None if data is None else target.figure(data)
    if data is None or figure is None:
        missing = [] if data is None or not target.name else [_why(each) for each in data.get("missing", ())]
        why = next((reason for name, reason in missing if name == target.name), "")
        shown = f"not measured: {why}" if why else "not measured"
        return f"| {target.text} | {bound}{_unit(target)} | {shown} | - | - |"
    conditions = data["conditions"]
    cells = [
        target.text,
        f"{bound}{_unit(target)}",
        f"{figure:.2f}{target.unit}" if target.unit else f"{figure:.3f}",
        verdict(target, figure),
        f"{conditions['date']}, {conditions['num_cores']} cores of {conditions['cpu_model']}",
    ]
    return f"| {' | '.join(cells)} |"


def verdict(target: Target, figure: float) -> str:
    """Whether the figure meets the bound, without rounding; `-` where there is none."""
    if target.at_least is None and target.at_most is None:
        return "-"
    low, high = target.at_least or float("-inf"), target.at_most
    return "yes" if figure >= low and (high is None or figure <= high) else "**no**"


def _unit(target: Target) -> str:
    return "" if target.at_least is None and target.at_most is None else target.unit


def _why(text: str) -> tuple[str, str]:
    name, _, reason = text.partition(": ")
    return name, reason


def _read(path: Path) -> Json | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


# What figures are made of: ratios and differences of samples that were measured side by side.


def rate(sample: Json) -> float:
    return sample["load"]["requests_per_s"]


def ttft_p50_ms(sample: Json) -> float:
    return sample["load"]["ttft_p50_ms"]


def cpu_ms(sample: Json) -> float:
    return sum(sample["cpu_s"].values()) * 1000 / max(1, sample["load"]["num_requests"])


def compared(
    mine: str,
    other: str,
    data: Json,
    *,
    num_streams: int,
    compare: Callable[[Json, Json], float],
    unstreamed: bool = False,
) -> float | None:
    """The median over repetitions of what comes of two samples of one round and repetition; None without any."""
    samples = [
        sample
        for sample in data["samples"]
        if sample.get("num_streams") == num_streams and sample.get("unstreamed", False) == unstreamed
    ]
    others = {(each["round"], each["repetition"]): each for each in samples if each["path"] == other}
    pairs = [
        (each, others[each["round"], each["repetition"]])
        for each in samples
        if each["path"] == mine and (each["round"], each["repetition"]) in others
    ]
    return median(compare(*pair) for pair in pairs) if pairs else None


def _ratio(mine: Json, other: Json) -> float:
    return rate(mine) / rate(other)


def _ttft_above(mine: Json, other: Json) -> float:
    return ttft_p50_ms(mine) - ttft_p50_ms(other)


def _cpu_above(mine: Json, other: Json) -> float:
    return cpu_ms(mine) - cpu_ms(other)


def of_one_gateway(number: int, data: Json) -> float | None:
    """Requests/s of several gateways over those of one, each as a share of the `bare` beside it."""
    few, many = (
        compared(path_of(each), "bare", data, num_streams=MOST_STREAMS, compare=_ratio) for each in (1, number)
    )
    return many / few if few and many else None


def worst_choice(load_ratio: float, other: str, data: Json) -> float | None:
    """raymux's mean TTFT over another router's, the worst of all numbers of gateways; means over the seeds."""
    samples = [each for each in data["samples"] if each.get("load_ratio") == load_ratio]
    ratios = []
    for number in {each["num_gateways"] for each in samples}:
        mine, theirs = (
            [each["mean_s"] for each in samples if (each["num_gateways"], each["contender"]) == (number, name)]
            for name in ("raymux", other)
        )
        if mine and theirs:
            ratios.append(mean(mine) / mean(theirs))
    return max(ratios, default=None)


def soak_slope(value: Callable[[Json], float], data: Json) -> float | None:
    """How much it grows in a minute of the soak, from the second one on."""
    minutes = [Minute(**each) for each in data["samples"]]
    return slope(minutes, lambda minute: value(vars(minute))) if len(minutes) > 2 else None


def soak_failures(data: Json) -> float | None:
    if not data["samples"]:
        return None
    return float(sum(sum(each["load"]["errors"].values()) for each in data["samples"]))


def of_most_models(value: Callable[[Json], float], data: Json, *, above_fewest: bool = False) -> float | None:
    """A figure of the cluster with the most models, or what it is above that with the fewest; None without both."""
    values: defaultdict[int, list[float]] = defaultdict(list)
    for sample in data["samples"]:
        values[sample["num_models"]].append(value(sample))
    if len(values) < 2:
        return None
    most, fewest = (median(values[pick(values)]) for pick in (max, min))
    return most - fewest if above_fewest else most


def _gateway(text: str, path: str, **changes: Any) -> Target:
    return Target(
        text, "gateway", partial(compared, path, "bare", num_streams=64, compare=_ratio), name=path, **changes
    )


def _vllm(baseline: str) -> Sequence[Target]:
    of, mine = VLLM_OWN[baseline], partial(compared, "raymux", baseline)
    at_32, above = partial(mine, num_streams=32, compare=_ratio), partial(mine, num_streams=1, compare=_ttft_above)
    return (
        Target(f"requests/s, real vLLM, 32 streams, of {of}", "vllm-chat", at_32, at_least=0.85),
        Target(f"TTFT p50, real vLLM, 1 stream, above {of}", "vllm-chat", above, at_most=2, unit=" ms"),
    )


def _ray_llm(server: str) -> Target:
    figure = partial(compared, server, "vllm", num_streams=32, compare=_ratio)
    return Target(f"{server}: requests/s, 32 streams, of {VLLM_OWN['vllm']}", "vllm-chat", figure)


def _raymux(num_streams: int, compare: Callable[[Json, Json], float], *, unstreamed: bool = False) -> Figure:
    return partial(compared, "raymux", "bare", num_streams=num_streams, compare=compare, unstreamed=unstreamed)


def _soak(text: str, value: Callable[[Json], float], unit: str) -> Target:
    return Target(f"soak: {text}, growth a minute", "soak", partial(soak_slope, value), unit=unit)


def _many(
    text: str, value: Callable[[Json], float], unit: str, at_most: float | None = None, *, above_fewest: bool = False
) -> Target:
    figure = partial(of_most_models, value, above_fewest=above_fewest)
    return Target(f"1,000 cold models and adapters: {text}", "many_models", figure, at_most=at_most, unit=unit)


def _p50_ms(name: str) -> Callable[[Json], float]:
    return lambda sample: sample["latencies"][name]["p50_ms"]


def _choice(text: str, other: str, at_most: float) -> Target:
    return Target(text, "replica_choice", partial(worst_choice, 0.7, other), at_most=at_most)


TARGETS: tuple[Target, ...] = (
    _gateway("requests/s at 64 streams, emulated, of bare", "raymux", at_least=0.98),
    _gateway("vllm-router: the same", "vllm-router"),
    _gateway("plain Serve: the same", "plain"),
    _gateway("LiteLLM: the same", "litellm"),
    Target("TTFT p50 above bare at 64 streams", "gateway", _raymux(64, _ttft_above), at_most=4, unit=" ms"),
    Target("CPU a request above bare at 64 streams", "gateway", _raymux(64, _cpu_above), at_most=2.5, unit=" ms"),
    Target("requests/s at 256 streams, of bare", "gateway", _raymux(256, _ratio)),
    Target("requests/s, 64 at once and not streamed, of bare", "gateway", _raymux(64, _ratio, unstreamed=True)),
    Target("requests/s at 256 streams over 20 models, of bare", "zipf", _raymux(256, _ratio), at_least=0.9),
    Target("2 gateways: requests/s at 256 streams, of 1 gateway", "gateways", partial(of_one_gateway, 2)),
    Target("4 gateways: the same", "gateways", partial(of_one_gateway, 4)),
    _many("memory", lambda each: each["memory_mib"]["all"], " MiB", 100, above_fewest=True),
    _many("ready after Ray", lambda each: each["ray_to_ready_s"], " s", 5),
    _many("GET /v1/models p50", _p50_ms("GET /v1/models"), " ms"),
    _many("GET /v1/status p50", _p50_ms("GET /v1/status"), " ms"),
    _many("a name is resolved", lambda each: each["pure"]["a name is resolved, µs"], " µs"),
    Target("soak: requests that failed", "soak", soak_failures, at_most=0),
    _soak("TTFT p99", lambda minute: minute["load"]["ttft_p99_ms"], " ms"),
    _soak("memory of all processes", lambda minute: minute["memory_mib"]["all"], " MiB"),
    _soak("open files", lambda minute: minute["num_fds"]["all"], ""),
    *_vllm("vllm"),
    *_vllm("vllm-uniproc"),
    *map(_ray_llm, ("ray-llm", "ray-llm-tuned", "ray-llm-direct")),
    _choice("mean TTFT on the Mooncake trace, 70% load, of Ray's prefix router", "Ray's prefix router", 0.70),
    _choice("the same, of power of two", "power of two", 0.45),
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
