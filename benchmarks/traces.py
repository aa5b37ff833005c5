"""Reads the workload traces (`../shared/traces`) that the autoscaling benchmark replays."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np

from autoscaling.simulator.workload import RateWindow

RATES = "servegen_rates.csv.gz"
LENGTHS = "servegen_lengths.csv.gz"
QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)


class TracesMissing(Exception):
    """The folder has no traces; the message says where they were looked for."""


Client = tuple[str, str]
# Token counts at QUANTILES, of prompt and completion.
Lengths = tuple[np.ndarray, np.ndarray]


def rate_windows(folder: Path, pool: str) -> dict[str, list[RateWindow]]:
    """The rate windows of each client of a pool, in order of time.

    Raises:
        TracesMissing: the folder does not hold the file.
    """
    windows: dict[str, list[RateWindow]] = defaultdict(list)
    for row in _rows(folder / RATES):
        if row["pool"] == pool:
            windows[row["client"]].append(
                RateWindow(float(row["t_s"]), float(row["rate_rps"]), row["dist"], float(row["p1"]))
            )
    return {client: sorted(found) for client, found in windows.items()}


def token_lengths(folder: Path, pool: str) -> tuple[dict[str, Lengths], Lengths]:
    """Token-length quantiles of each client (mean over its windows), and of the pool, for clients without any."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in _rows(folder / LENGTHS):
        if row["pool"] == pool and row["field"] in ("input_tokens", "output_tokens"):
            quantiles = [float(row[f"q{round(q * 100)}"]) for q in QUANTILES]
            found[row["client"], row["field"]].append(quantiles)
            found["", row["field"]].append(quantiles)
    means = {key: np.mean(rows, axis=0) for key, rows in found.items()}
    clients = {client for client, field in means if client and (client, "output_tokens") in means}
    lengths = {
        c: (means[c, "input_tokens"], means[c, "output_tokens"]) for c in clients if (c, "input_tokens") in means
    }
    return lengths, (means["", "input_tokens"], means["", "output_tokens"])


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise TracesMissing(f"no trace {path.name} in {path.parent}; name the folder of the traces with --traces")
    with gzip.open(path, "rt") as lines:
        return list(csv.DictReader(lines))
