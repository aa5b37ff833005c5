"""`python -m benchmarks many_models`: what a thousand cold models and as many adapters cost, next to one of each.

Two clusters, one after the other, with emulated engines that nobody starts. Of each: the time to its start, memory, CPU
while nothing happens, and how long the gateway's own endpoints take. Besides, without a cluster, the cost of what
gateway and manager do with the catalog (`many_models_pure.py`).
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks import many_models_pure
from benchmarks.many_models_requests import Latency, latency, longest_wait_ms, register
from benchmarks.processes import CpuMeter, memory_bytes
from benchmarks.report import RESULTS, Conditions, save
from benchmarks.servers import Server, ServerFailed, running

# The gateway's garbage and the replicas' start-up work are over by then.
SETTLE_S = 4.0
MEMORY_TARGET_MIB, READY_TARGET_S = 100, 5.0
KINDS = ("raymux:Gateway", "raymux:ModelManager", "ServeController", "serve", "deployments.serve")


@dataclass(frozen=True)
class Sample:
    """One cluster. `cpu_ms_per_s` and `memory_mib` (USS) are by kind of process, `all` for the sum of all of them."""

    num_models: int
    repetition: int
    command_to_ready_s: float
    ray_to_ready_s: float
    memory_mib: dict[str, float]
    idle_cpu_ms_per_s: dict[str, float]
    latencies: dict[str, Latency]
    longest_waits_ms: dict[str, float]
    pure: dict[str, float]


def main(arguments: list[str]) -> int:
    """Measure, print the tables and write them down; 1 when a server did not start."""
    options = _options(arguments)
    # Leave the servers' blocks, which end them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks many_models", *arguments]), ("ray", "pydantic"))
    try:
        samples = [
            _measure(num_models, repetition, options)
            for repetition in range(options.repetitions)
            for num_models in (1, options.models)
        ]
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    text = _text(conditions, samples)
    save(options.results, "many_models", text, conditions, samples)
    print(text)
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks many_models", description="The cost of cold models.")
    parser.add_argument("--models", type=int, default=1000, help="models, and as many adapters")
    parser.add_argument("--repetitions", type=int, default=1, help="the tables show medians over them")
    parser.add_argument("--window-s", type=float, default=6.0, help="time over which CPU is counted")
    parser.add_argument("--port", type=int, default=8251)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for many_models.md and many_models.json")
    return parser.parse_args(arguments)


def configuration(num_models: int) -> dict[str, Any]:
    """A manager's `user_config`: models with an alias and an adapter each."""
    models = [
        {
            "name": f"model-{number:04}",
            "aliases": [f"org/Model-{number:04}"],
            "source": "models/demo-chat",
            "variants": [{"shape": "CPU", "num_cpus": 0}],
            "engine": {"kind": "emulated"},
            "adapters": {"max_rank": 8},
        }
        for number in range(num_models)
    ]
    adapters = [
        {"name": f"peft:model-{number:04}:job_{number:04}", "source": "models/adapters/job_pirate"}
        for number in range(num_models)
    ]
    return {"models": models, "adapters": adapters, "runtime_sources": ["models"]}


@contextmanager
def _cluster(num_models: int, port: int) -> Iterator[tuple[Server, float]]:
    """The server as soon as it is ready, and when Ray was up, seconds since the epoch."""
    with tempfile.TemporaryDirectory(prefix="raymux-bench-") as folder:
        manager = {**configuration(num_models), "store": f"{folder}/raymux.db"}
        document = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": port, "request_timeout_s": None, "keep_alive_timeout_s": 75},
            "logging_config": {"encoding": "TEXT", "log_level": "INFO", "enable_access_log": False},
            "applications": [
                {
                    "name": "raymux",
                    "route_prefix": "/",
                    "import_path": "deployments.app:build",
                    "deployments": [
                        {"name": "Gateway", "user_config": {}},
                        {"name": "ModelManager", "user_config": manager},
                    ],
                }
            ],
        }
        config, log = Path(folder) / "config.yaml", Path(folder) / "serve.log"
        config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        with running(["deployments.serve", str(config), "--log", str(log)], "raymux", port, probe=None) as server:
            yield server, _ray_up_s(log)


def _ray_up_s(log: Path) -> float:
    """When `serve run` had started Ray, as its log says."""
    line = next(line for line in log.read_text(errors="replace").splitlines() if "Started a local Ray instance" in line)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def _measure(num_models: int, repetition: int, options: argparse.Namespace) -> Sample:
    begun_s = time.time()
    with _cluster(num_models, options.port) as (server, ray_up_s):
        ready_s = time.time()
        time.sleep(SETTLE_S)
        memory = _by_kind({kind: used / 2**20 for kind, used in memory_bytes(server.pid).items()})
        meter = CpuMeter(server.pid)
        idle = _cpu_ms_per_s(meter, options.window_s)
        latencies = {
            "GET /v1/models": latency(server, "/v1/models", 200),
            "GET /v1/status": latency(server, "/v1/status", 200),
            "GET /metrics": latency(server, "/metrics", 50),
            "GET /ready": latency(server, "/ready", 200),
            "a name that nothing has": latency(server, "/v1/models/model-0x00", 50, status=404),
        }
        waits = {
            "nothing else": longest_wait_ms(server, lambda: time.sleep(3)),
            "model lists": longest_wait_ms(server, lambda: latency(server, "/v1/models", 100)),
            "a model is registered": longest_wait_ms(server, lambda: register(server, "peft:model-0000:late")),
        }
    sample = Sample(
        num_models,
        repetition,
        ready_s - begun_s,
        ready_s - ray_up_s,
        memory,
        idle,
        latencies,
        waits,
        many_models_pure.measure(configuration(num_models)),
    )
    print(
        f"{num_models:>6} models: ready {sample.ray_to_ready_s:.1f} s after Ray, {memory['all']:.0f} MiB,"
        f" {idle['all']:.0f} ms CPU a second",
        flush=True,
    )
    return sample


def _cpu_ms_per_s(meter: CpuMeter, window_s: float) -> dict[str, float]:
    meter.restart()
    begun_s = time.monotonic()
    time.sleep(window_s)
    used = meter.used_s()
    passed_s = time.monotonic() - begun_s
    return _by_kind({kind: seconds * 1000 / passed_s for kind, seconds in used.items()})


def _by_kind(values: dict[str, float]) -> dict[str, float]:
    return {**{kind: values.get(kind, 0.0) for kind in KINDS}, "all": sum(values.values())}


def _text(conditions: Conditions, samples: list[Sample]) -> str:
    num_models = max(sample.num_models for sample in samples)
    one, many = ([sample for sample in samples if sample.num_models == number] for number in (1, num_models))
    columns = f"| | 1 model, 1 adapter | {num_models:,} models, {num_models:,} adapters |\n| --- | ---: | ---: |"
    rows = list(_rows(one, many))
    cost_mib = _median(many, "memory_mib", "all") - _median(one, "memory_mib", "all")
    cost = (
        f"All {num_models:,} cold models and adapters cost {cost_mib:.0f} MiB in all processes together, target below"
        f" {MEMORY_TARGET_MIB}; {cost_mib * 1024 / num_models:.0f} KiB for a model with its adapter. Ready after Ray:"
        f" target below {READY_TARGET_S:g} s."
    )
    pure_rows = "\n".join(
        f"| {name} | {_median(one, 'pure', name):,.3g} | {_median(many, 'pure', name):,.3g} |" for name in one[0].pure
    )
    return "\n\n".join(
        [
            "# Many cold models",
            f"{conditions.text()}.",
            cost,
            "\n".join([columns, *rows]),
            f"Without a cluster, CPU time:\n\n{columns}\n{pure_rows}",
        ]
    ) + "\n"  # fmt: skip


def _rows(one: list[Sample], many: list[Sample]) -> Iterator[str]:
    def row(name: str, attribute: str, key: str | None = None, form: str = ".1f") -> str:
        return f"| {name} | {_median(one, attribute, key):{form}} | {_median(many, attribute, key):{form}} |"

    yield row("ready after the command, s", "command_to_ready_s")
    yield row("ready after Ray, s", "ray_to_ready_s")
    for kind in (*KINDS, "all"):
        yield row(f"memory of {kind}, MiB (USS)", "memory_mib", kind)
    for kind in ("raymux:Gateway", "raymux:ModelManager", "ServeController", "all"):
        yield row(f"CPU of {kind}, idle, ms/s", "idle_cpu_ms_per_s", kind)
    for name in one[0].latencies:
        cells = []
        for group in (one, many):
            p50_ms, p99_ms = (
                statistics.median(getattr(sample.latencies[name], key) for sample in group)
                for key in ("p50_ms", "p99_ms")
            )
            cells.append(f"{p50_ms:.1f} / {p99_ms:.1f} ({group[0].latencies[name].num_bytes:,} bytes)")
        yield f"| {name}, ms (p50 / p99) | {' | '.join(cells)} |"
    for name in one[0].longest_waits_ms:
        yield row(f"longest answer of /health meanwhile, ms: {name}", "longest_waits_ms", name)


def _median(group: list[Sample], attribute: str, key: str | None = None) -> float:
    values = [getattr(sample, attribute) for sample in group]
    return statistics.median(value if key is None else value[key] for value in values)
