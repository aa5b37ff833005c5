"""The models and clusters that the autoscaling benchmark replays: which clients, which sizes, how much traffic."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from autoscaling.simulator.cluster import Cluster, ModelSize, NodeType
from autoscaling.simulator.replay import TICK_S, SimulatedModel
from autoscaling.simulator.workload import DAY_S, arrivals, workload
from benchmarks.traces import QUANTILES, Lengths, rate_windows, token_lengths

SLO_TTFT_S = 5.0
NUM_MODELS = 100
# The pool whose total (196 requests/s) the scales of the traces' description are about; its clients have 8 days.
POOL = "m-large"

L40S = NodeType("L40S", num_gpus=8, host_memory_gb=768, usd_per_gpu_hour=1.90)
H100 = NodeType("H100", num_gpus=8, host_memory_gb=1536, usd_per_gpu_hour=4.25)

# Start-up with weight streaming and a compile cache (Ray Serve LLM's published examples). Latency as measured, medians
# at a batch of 16: Llama-3.1-8B on 2 x A100 (SageServe), Llama-2-70B on 4 and BLOOM-176B on 8 x H100 (Splitwise).
SIZES = (
    ModelSize("8B", "L40S", 1, 16, 64, 0.053e-3, 0.0122),
    ModelSize("70B", "H100", 4, 140, 132, 0.103e-3, 0.0328),
    ModelSize("235B", "H100", 8, 470, 263, 0.130e-3, 0.0406),
)
SIZE_RATIOS = (0.6, 0.3, 0.1)


class Mix(NamedTuple):
    """How much of the trace's traffic, over how many days (the first is never scored), on how many nodes."""

    name: str
    scale: float
    num_days: int
    num_l40s_nodes: int
    num_h100_nodes: int

    @property
    def num_ticks(self) -> int:
        return round(self.num_days * DAY_S / TICK_S)


MIXES = {
    mix.name: mix
    for mix in (
        Mix("medium", 0.01, 4, 12, 24),
        Mix("busy", 0.1, 3, 24, 48),
        Mix("sparse", 0.001, 4, 12, 24),
    )
}


def models(mix: Mix, folder: Path, seed: int, pool: str = POOL) -> list[SimulatedModel]:
    """A hundred models of the mix: clients, sizes, arrivals and lengths are drawn by the seed."""
    rng = np.random.default_rng(seed)
    windows = rate_windows(folder, pool)
    lengths, pool_lengths = token_lengths(folder, pool)
    clients = rng.permutation(sorted(windows))[:NUM_MODELS]
    sizes = rng.choice(len(SIZES), size=len(clients), p=SIZE_RATIOS)
    made = []
    for client, size in zip(clients, sizes, strict=True):
        arrival_s = arrivals(windows[client], mix.scale, rng)
        made.append(_model(arrival_s, lengths.get(client, pool_lengths), SIZES[size], mix, rng))
    return made


def _model(
    arrival_s: np.ndarray, lengths: Lengths, size: ModelSize, mix: Mix, rng: np.random.Generator
) -> SimulatedModel:
    prompt, completion = (_drawn(quantiles, len(arrival_s), rng) for quantiles in lengths)
    prefill_s = prompt * size.prefill_s_per_token
    service_s = prefill_s + completion * size.decode_s_per_token
    load = workload(arrival_s, service_s, TICK_S, mix.num_ticks)
    mean_prefill_s = float(prefill_s.mean()) if len(prefill_s) else 0.0
    return SimulatedModel(size, load, SLO_TTFT_S - mean_prefill_s)


def _drawn(quantiles: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Token counts from their quantiles, linear in between."""
    return np.interp(rng.random(num), (0.0, *QUANTILES), (quantiles[0], *quantiles))


def clusters(mix: Mix) -> list[Cluster]:
    """Empty clusters of the mix."""
    return [Cluster(L40S, mix.num_l40s_nodes), Cluster(H100, mix.num_h100_nodes)]
