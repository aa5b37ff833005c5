"""How long an idle model keeps its last replica: the break-even between idle GPUs and a cold start.

Rent or buy: a replica kept for t seconds of a pause costs t, one that is gone when the request comes costs a start.
Without knowledge, leaving after the price of a start costs at most twice what knowing the future would (Karlin et al.,
"Competitive randomized algorithms for nonuniform problems", 1994). With a model's own pauses, the time that would have
cost least over them costs least from now on (hybrid-histogram policy, Shahrad et al., "Serverless in the Wild", 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

from autoscaling.history import GAP_EDGES_S, GAP_GROWTH, NUM_GAP_BINS, ArrivalHistory

# Weight of the pauses that a model is believed to have before it had any: as many in each bin, that is, anything.
PRIOR_GAP_WEIGHT = 2.0
# A pause of a bin is taken as the geometric middle of the bin; of the first as half of its edge.
GAP_MIDDLES_S = (GAP_EDGES_S[0] / 2, *(edge * GAP_GROWTH**0.5 for edge in GAP_EDGES_S))


@dataclass(frozen=True, slots=True)
class KeepAliveRules:
    """Bounds of the idle time of a model, and what a cold start is worth.

    `start_s` is what a start takes (of a sleeping engine: its wake). `late_request_gpu_s` is how many GPU-seconds one
    may spend idle to spare a request that wait, 0 where a start is within the objective; `num_gpus` is what a replica
    holds, so a model of eight GPUs waits an eighth as long for the same request.
    """

    min_s: float
    max_s: float
    start_s: float
    late_request_gpu_s: float
    num_gpus: int = 1

    @property
    def break_even_s(self) -> float:
        """Seconds of idling that cost as much as one cold start, which holds the GPUs too and makes someone wait."""
        return self.start_s + self.late_request_gpu_s / max(1, self.num_gpus)


def idle_timeout_s(history: ArrivalHistory, rules: KeepAliveRules) -> float:
    """The idle time after which the last replica should go, in seconds within the bounds of the rules.

    Least sum over the pauses of min(pause, timeout) + break-even where pause > timeout; timeouts are tried at the edges
    of the bins, and 0.
    """
    prior = PRIOR_GAP_WEIGHT / NUM_GAP_BINS
    break_even_s = rules.break_even_s
    longer = sum(history.gap_weights) + PRIOR_GAP_WEIGHT
    best_s, best_cost, within_cost = 0.0, longer * break_even_s, 0.0
    for edge_s, middle_s, weight in zip(GAP_EDGES_S, GAP_MIDDLES_S, history.gap_weights, strict=False):
        longer -= weight + prior
        within_cost += (weight + prior) * middle_s
        cost = within_cost + longer * (edge_s + break_even_s)
        if cost < best_cost:
            best_s, best_cost = edge_s, cost
        if within_cost > best_cost:
            break
    return min(max(best_s, rules.min_s), rules.max_s)
