"""Reads the workload traces (`../shared/traces`) that the simulations replay."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from autoscaling.simulator.workload import RateWindow

RATES = "servegen_rates.csv.gz"
LENGTHS = "servegen_lengths.csv.gz"
CONVERSATIONS = "mooncake_fast25_conversation.jsonl.gz"
# Tokens of a block of CONVERSATIONS.
BLOCK_TOKENS = 512
QUANTILES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)


class TracesMissing(Exception):
    """The folder has no traces; the message says where they were looked for."""


Client = tuple[str, str]
# Token counts at QUANTILES, of prompt and completion.
Lengths = tuple[np.ndarray, np.ndarray]


class Turn(NamedTuple):
    """A request of a conversation. Requests begin alike as far as the ids of their blocks are the same."""

    at_s: float
    prompt_tokens: int
    completion_tokens: int
    blocks: tuple[int, ...]


def turns(folder: Path) -> list[Turn]:
    """The requests of CONVERSATIONS in order of time; their times are multiples of three seconds.

    Raises:
        TracesMissing: the folder does not hold the file.
    """
    with _open(folder / CONVERSATIONS) as lines:
        rows = [json.loads(line) for line in lines]
    return [Turn(row["t_ms"] / 1000, row["in"], row["out"], tuple(row["h"])) for row in rows]


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
    with _open(path) as lines:
        return list(csv.DictReader(lines))


def _open(path: Path) -> TextIO:
    if not path.is_file():
        raise TracesMissing(f"no trace {path.name} in {path.parent}; name the folder of the traces with --traces")
    return gzip.open(path, "rt")
