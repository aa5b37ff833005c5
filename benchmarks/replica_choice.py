"""`python -m benchmarks replica_choice`: to which replica a request goes, and how soon its answer begins.

The Mooncake conversation trace is sent to simulated replicas of one model (`benchmarks.replica_simulation`). raymux
chooses with the functions that run in its gateways, Ray with the real classes of its two routers. Targets stand beside
the figures.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.replica_choice_live import CHOICES, NUM_CLIENTS, live_table, measure
from benchmarks.replica_choice_live import NUM_REPLICAS as LIVE_REPLICAS
from benchmarks.replica_simulation import Chooser, Engine, Replica, Request, simulate
from benchmarks.report import RESULTS, Conditions, save
from benchmarks.traces import BLOCK_TOKENS, TracesMissing, Turn, turns
from catalog.project import PROJECT
from catalog.replicas import ReplicaReport, ReplicaState
from router.outlook import Outlook, Place, SentPrompt
from router.prefixes import Prefix, prefix_of
from router.replicas import choose_replica

BYTES_PER_TOKEN = 4
# How long it takes until a gateway has heard, through the manager, of what another one has sent.
GOSSIP_S = (0.05, 0.5)
# The share of requests that come first and are not scored: caches are empty then.
WARM_UP_SHARE = 0.1
NUM_REPLICAS = 8
OURS, PREFIX, POWER_OF_TWO, ALL_KNOWING = "raymux", "Ray's prefix router", "power of two", "all-knowing"
TARGETS = {PREFIX: 0.70, POWER_OF_TWO: 0.45}


class Gateways:
    """raymux's gateways, each with an outlook of its own."""

    def __init__(self, num_gateways: int, engine: Engine, replicas: list[Replica]) -> None:
        self._rng = random.Random(1)
        self._outlooks = [Outlook() for _ in range(num_gateways)]
        self._ongoing = [Counter[str]() for _ in range(num_gateways)]
        self._turns = [self._rng.randrange(1000) for _ in range(num_gateways)]
        self._news: list[list[tuple[float, float, SentPrompt]]] = [[] for _ in range(num_gateways)]
        self._reports = {
            str(replica.number): ReplicaReport(
                str(replica.number), "model@GPU", "", ReplicaState.READY, 0.0, kv_capacity_tokens=engine.kv_tokens
            )
            for replica in replicas
        }

    def choose(self, request: Request, now_s: float) -> int:
        number, prefix = request.gateway, prefix_of_blocks(request.turn)
        self._listen(number, now_s)
        outlook = self._outlooks[number]
        self._turns[number] += 1
        chosen = choose_replica(
            self._reports.values(),
            self._ongoing[number],
            turn=self._turns[number],
            estimate=lambda report: outlook.estimate(report, prefix, now_s),
        )
        assert chosen is not None
        self._ongoing[number][chosen.replica_id] += 1
        request.place = outlook.sent(chosen, prefix, now_s)
        self._tell(number, request.place, now_s)
        return int(chosen.replica_id)

    def first_token(self, request: Request, now_s: float) -> None:
        self._listen(request.gateway, now_s)
        self._outlooks[request.gateway].first_token(request.place, now_s)

    def ended(self, request: Request, now_s: float) -> None:
        self._ongoing[request.gateway][str(request.replica)] -= 1
        self._outlooks[request.gateway].used(request.place, request.turn.prompt_tokens, request.cached_tokens)

    def reported(self, replica: Replica, now_s: float) -> None:
        key = str(replica.number)
        self._reports[key] = replace(
            self._reports[key], sent_at_s=now_s, running=replica.num_running, waiting=replica.num_waiting
        )
        for number, outlook in enumerate(self._outlooks):
            self._listen(number, now_s)
            outlook.heard(self._reports.values(), now_s)

    def _tell(self, number: int, place: Place, now_s: float) -> None:
        for other, news in enumerate(self._news):
            if other != number:
                heapq.heappush(news, (now_s + self._rng.uniform(*GOSSIP_S), now_s, place.as_sent(now_s)))

    def _listen(self, number: int, now_s: float) -> None:
        news = self._news[number]
        while news and news[0][0] <= now_s:
            _, sent_s, sent = heapq.heappop(news)
            self._outlooks[number].told(self._reports[sent.replica_id], sent._replace(age_s=now_s - sent_s), now_s)


class AllKnowing:
    """Looks into the replicas: what an estimate without any error would give."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._replicas = replicas

    def choose(self, request: Request, now_s: float) -> int:
        return min(self._replicas, key=lambda replica: replica.expected_ttft_s(request.turn, now_s)).number

    def first_token(self, request: Request, now_s: float) -> None: ...

    def ended(self, request: Request, now_s: float) -> None: ...

    def reported(self, replica: Replica, now_s: float) -> None: ...


def _ray(name: str, num_gateways: int, replicas: list[Replica], **options: float) -> Chooser:
    # Imported late: it takes a second, and changes how Ray logs.
    from benchmarks import ray_routers

    return getattr(ray_routers, name)(num_gateways, replicas, **options)


ChooserOf = Callable[[int, Engine, list[Replica]], Chooser]
CONTENDERS: dict[str, ChooserOf] = {
    POWER_OF_TWO: lambda num_gateways, _, replicas: _ray("power_of_two", num_gateways, replicas),
    PREFIX: lambda num_gateways, _, replicas: _ray("prefix_affinity", num_gateways, replicas),
    f"{PREFIX}, imbalanced_threshold 20": lambda num_gateways, _, replicas: _ray(
        "prefix_affinity", num_gateways, replicas, imbalanced_threshold=20
    ),
    OURS: Gateways,
    ALL_KNOWING: lambda _, __, replicas: AllKnowing(replicas),
}


@dataclass(frozen=True)
class Case:
    """One run of the trace."""

    traces: Path
    engine: Engine
    load_ratio: float
    num_gateways: int
    contender: str
    seed: int


@dataclass(frozen=True)
class Sample:
    """What came of a case.

    `cached_ratio` is of prompt tokens, `imbalance` is the time the busiest replica computed prompts over the mean.
    """

    load_ratio: float
    num_gateways: int
    contender: str
    seed: int
    mean_s: float
    p50_s: float
    p99_s: float
    cached_ratio: float
    imbalance: float


def main(arguments: list[str]) -> int:
    """Simulate, print the table and write it down; 1 without traces."""
    options = _options(arguments)
    started_s = time.monotonic()
    conditions = Conditions.now(" ".join(["python -m benchmarks replica_choice", *arguments]))
    engine = Engine(kv_tokens=options.kv_tokens)
    cases = [
        Case(options.traces, engine, load_ratio, num_gateways, contender, seed)
        for load_ratio in options.loads
        for num_gateways in options.gateways
        for seed in options.seeds
        for contender in CONTENDERS
        if contender != ALL_KNOWING or num_gateways == options.gateways[0]
    ]
    try:
        load_turns(options.traces)
    except TracesMissing as error:
        print(error, file=sys.stderr)
        return 1
    # Forked, so that all have the trace; nothing has been started that a fork would break.
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        samples = list(pool.map(_run, cases))
    live = [] if options.no_live else [measure(choice, options.port) for choice in CHOICES]
    head = (
        f"{conditions.text()}. {len(load_turns(options.traces)):,} requests on {NUM_REPLICAS} simulated replicas of"
        f" {engine.prefill_tokens_per_s:,.0f} prompt tokens/s and {engine.kv_tokens:,} tokens of KV cache each."
    )
    parts = ["# Replica choice", head, table(samples), _cost_text()]
    if live:
        parts += [f"Live, {NUM_CLIENTS} conversations at once on {LIVE_REPLICAS} emulated replicas:", live_table(live)]
    text = "\n\n".join(parts)
    save(options.results, "replica_choice", text + "\n", conditions, [*samples, *live])
    print(text)
    print(f"took {time.monotonic() - started_s:.0f} s")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks replica_choice", description="Replica choice compared.")
    parser.add_argument("--traces", type=Path, default=PROJECT / "../shared/traces", help="folder of the traces")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.7, 0.85], help="of what no cache would leave")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 2, 4], help="numbers of gateways")
    parser.add_argument("--kv-tokens", type=int, default=Engine().kv_tokens, help="KV cache of a replica")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="the table shows means over them")
    parser.add_argument("--no-live", action="store_true", help="leave out the part with a running raymux")
    parser.add_argument("--port", type=int, default=8214, help="port of the live part")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for replica_choice.md")
    return parser.parse_args(arguments)


@cache
def load_turns(folder: Path) -> list[Turn]:
    """The trace, read once. Raises TracesMissing."""
    return turns(folder)


@cache
def prefix_of_blocks(turn: Turn) -> Prefix:
    """What a gateway would make of the prompt: text that is the same as far as the blocks are."""
    text = "".join([f"{block:08d}" * (BLOCK_TOKENS * BYTES_PER_TOKEN // 8) for block in turn.blocks])
    return prefix_of({"prompt": text[: turn.prompt_tokens * BYTES_PER_TOKEN]})


def _run(case: Case) -> Sample:
    chooser_of = partial(CONTENDERS[case.contender], case.num_gateways, case.engine)
    requests, replicas = simulate(
        load_turns(case.traces), case.engine, NUM_REPLICAS, case.num_gateways, case.load_ratio, chooser_of, case.seed
    )
    scored = requests[int(len(requests) * WARM_UP_SHARE) :]
    ttfts_s = np.array([request.ttft_s for request in scored])
    busy_s = [replica.busy_s for replica in replicas]
    return Sample(
        case.load_ratio,
        case.num_gateways,
        case.contender,
        case.seed,
        mean_s=float(ttfts_s.mean()),
        p50_s=float(np.percentile(ttfts_s, 50)),
        p99_s=float(np.percentile(ttfts_s, 99)),
        cached_ratio=sum(request.cached_tokens for request in scored) / sum(r.turn.prompt_tokens for r in scored),
        imbalance=max(busy_s) * len(busy_s) / sum(busy_s),
    )


def table(samples: list[Sample]) -> str:
    """Means over the seeds; ratios are of mean TTFTs, with the targets beside raymux's."""
    lines = [
        "| Load | Gateways | Router | mean TTFT, s | of the prefix router | of power of two | p50, s | p99, s | cached"
        " | imbalance |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    groups = sorted({(sample.load_ratio, sample.num_gateways) for sample in samples})
    for load_ratio, num_gateways in groups:
        group = [sample for sample in samples if (sample.load_ratio, sample.num_gateways) == (load_ratio, num_gateways)]
        names = {sample.contender for sample in group}
        means = {name: _mean(group, name, "mean_s") for name in CONTENDERS if name in names}
        for name in means:
            ratios = [_ratio(means[name] / means[other], name, target) for other, target in TARGETS.items()]
            figures = [f"{_mean(group, name, field):.2f}" for field in ("p50_s", "p99_s")]
            cells = [f"{load_ratio:.0%}", str(num_gateways), name, f"{means[name]:.2f}", *ratios, *figures]
            cells += [f"{_mean(group, name, 'cached_ratio'):.1%}", f"{_mean(group, name, 'imbalance'):.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(ratio: float, name: str, target: float) -> str:
    return f"{ratio:.2f}" + (f" (≤ {target:.2f})" if name == OURS else "")


def _mean(samples: Iterable[Sample], contender: str, field: str) -> float:
    return float(np.mean([getattr(sample, field) for sample in samples if sample.contender == contender]))


def _cost_text() -> str:
    """What a choice costs a gateway, for a chat of 4 kB and a prompt of 100 kB."""
    chat = [{"role": role, "content": "x" * 500} for role in ("system", "user", "assistant", "user") * 2]
    costs_us = [_cost_us({"messages": chat}), _cost_us({"prompt": "x" * 100_000})]
    return (
        f"To hash a prompt, choose and note the choice takes {costs_us[0]:.0f} µs of CPU for a chat of 4 kB, and"
        f" {costs_us[1]:.0f} µs for a prompt of 100 kB, among {NUM_REPLICAS} replicas."
    )


def _cost_us(fields: dict[str, object], repetitions: int = 500) -> float:
    outlook, ongoing = Outlook(), Counter[str]()
    reports = [ReplicaReport(str(number), "m", "", ReplicaState.READY, 0.0) for number in range(NUM_REPLICAS)]
    for report in reports:
        outlook.sent(report, prefix_of(fields), 0.0)
    begun_s = time.process_time()
    for turn in range(repetitions):
        prefix = prefix_of(fields)
        chosen = choose_replica(
            reports, ongoing, turn=turn, estimate=lambda report, prefix=prefix: outlook.estimate(report, prefix, 1e9)
        )
        assert chosen is not None
        outlook.first_token(outlook.sent(chosen, prefix, 1e9), 1e9)
    return (time.process_time() - begun_s) / repetitions * 1e6
