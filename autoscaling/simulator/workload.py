"""The requests of one model as numbers: when they arrive, how long they run, how many run at once without any wait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

DAY_S = 86_400.0
WINDOW_S = 600.0
# A Gamma or Weibull shape below this puts hundreds of requests into one instant; the fits have a few.
MIN_SHAPE = 0.1
MAX_SHAPE = 20.0


class RateWindow(NamedTuple):
    """One window of a rate trace: start, mean rate, family of the gaps (`G`amma or `W`eibull) and its shape."""

    start_s: float
    rate_rps: float
    family: str
    shape: float


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests of one model, in order of arrival, and their sums per tick.

    `arrival_s` in seconds from the trace's start, `service_s` from a request's first work to its last token.
    `num_arrivals[k]` arrive in tick k. If nobody ever waited, `num_running[k]` would run at the end of tick k and at
    most `peak_running[k]` at any time in it, `mean_running[k]` on average. `first_index[k]` is the first request that
    arrives in tick k or later.
    """

    arrival_s: Floats
    service_s: Floats
    mean_running: Floats
    num_arrivals: Ints
    num_running: Ints
    peak_running: Ints
    first_index: NDArray[np.int64]

    @property
    def num_requests(self) -> int:
        return len(self.arrival_s)


def arrivals(windows: Sequence[RateWindow], scale: float, rng: np.random.Generator) -> Floats:
    """Arrival times of a renewal process whose rate is that of the windows times `scale`; windows left out are silent.

    Gaps are drawn with mean 1 and each window's own shape, and time runs at the window's rate (inversion of the
    cumulative rate), so a burst stays a burst at any scale and a gap may span silent windows.
    """
    found: list[Floats] = []
    ahead = _gaps(windows[0], 1, rng)[0] * rng.random() if windows else 0.0
    for window in windows:
        mass = window.rate_rps * scale * WINDOW_S
        if ahead >= mass:
            ahead -= mass
            continue
        times, ahead = _within(window, mass, ahead, rng)
        found.append(window.start_s + times / mass * WINDOW_S)
    return np.concatenate(found) if found else np.empty(0)


def _within(window: RateWindow, mass: float, ahead: float, rng: np.random.Generator) -> tuple[Floats, float]:
    """Arrivals below `mass`, the first of them at `ahead`, and how far beyond `mass` the next one is."""
    chunks, total = [np.array([ahead])], ahead
    while total < mass:
        missing = mass - total
        chunk = total + np.cumsum(_gaps(window, int(missing + 4 * math.sqrt(missing) + 8), rng))
        chunks.append(chunk)
        total = float(chunk[-1])
    times = np.concatenate(chunks)
    num = int(np.searchsorted(times, mass))
    return times[:num], float(times[num]) - mass


def _gaps(window: RateWindow, num: int, rng: np.random.Generator) -> Floats:
    """Gaps with mean 1 and the window's shape."""
    shape = min(max(window.shape, MIN_SHAPE), MAX_SHAPE)
    if window.family == "W":
        return rng.weibull(shape, num) / math.gamma(1 + 1 / shape)
    return rng.gamma(shape, 1 / shape, num)


def workload(arrival_s: Floats, service_s: Floats, tick_s: float, num_ticks: int) -> Workload:
    """Sums per tick of `tick_s` seconds, over `num_ticks` of them; later arrivals are left out."""
    end_s = num_ticks * tick_s
    num_kept = int(np.searchsorted(arrival_s, end_s))
    arrival_s, service_s = arrival_s[:num_kept], service_s[:num_kept]
    edges = np.arange(num_ticks + 1) * tick_s
    first_index = np.searchsorted(arrival_s, edges)
    departure_s = np.sort(arrival_s + service_s)
    running = first_index[1:] - np.searchsorted(departure_s, edges[1:], side="right")
    return Workload(
        arrival_s=arrival_s,
        service_s=service_s,
        mean_running=_means(arrival_s, departure_s, tick_s, num_ticks),
        num_arrivals=np.diff(first_index).astype(np.int32),
        num_running=running.astype(np.int32),
        peak_running=_peaks(arrival_s, departure_s, running, tick_s).astype(np.int32),
        first_index=first_index,
    )


def _means(arrival_s: Floats, departure_s: Floats, tick_s: float, num_ticks: int) -> Floats:
    """Mean number that runs in each tick: time in the system up to its end, less that up to its start."""
    edges: Floats = np.arange(num_ticks + 1, dtype=np.float64) * tick_s
    return np.diff(_elapsed(arrival_s, edges) - _elapsed(departure_s, edges)) / tick_s


def _elapsed(times_s: Floats, edges: Floats) -> Floats:
    """For each edge, the sum of the time since each of the times before it."""
    before = np.searchsorted(times_s, edges)
    return before * edges - np.concatenate([[0.0], np.cumsum(times_s)])[before]


def _peaks(arrival_s: Floats, departure_s: Floats, running: NDArray[np.int64], tick_s: float) -> NDArray[np.int64]:
    """The most that run at once in each tick: at its start, or just after one of its arrivals."""
    at_arrival = np.arange(1, len(arrival_s) + 1) - np.searchsorted(departure_s, arrival_s, side="right")
    peaks = np.concatenate([[0], running[:-1]])
    np.maximum.at(peaks, (arrival_s / tick_s).astype(np.int64), at_arrival)
    return peaks
