"""How many tokens a second replicas make, from what they count of themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from catalog.replicas import ReplicaReport

WINDOW_S = 5.0
# Reports at changes may come within milliseconds of each other, which is too short to tell a rate by.
LEAST_S = 0.5


class TokenRates:
    """Keeps each replica's counts of the last seconds; times are its own, so no clock is compared to another."""

    def __init__(self) -> None:
        self._counts: dict[str, deque[tuple[float, int]]] = {}

    def note(self, reports: Iterable[ReplicaReport]) -> None:
        """Take what replicas have counted; those that are not among them are forgotten."""
        kept: dict[str, deque[tuple[float, int]]] = {}
        for report in reports:
            counts = kept[report.replica_id] = self._counts.get(report.replica_id) or deque()
            if counts and report.sent_at_s <= counts[-1][0]:
                continue
            counts.append((report.sent_at_s, report.completion_tokens))
            # The oldest one that is kept may be just outside of the window, never the one after it.
            while len(counts) > 2 and report.sent_at_s - counts[1][0] >= WINDOW_S:
                counts.popleft()
        self._counts = kept

    def of(self, reports: Iterable[ReplicaReport]) -> float | None:
        """Completion tokens a second that these replicas make together; None while that is not known of any."""
        rates = [rate for report in reports if (rate := self._of(report.replica_id)) is not None]
        return round(sum(rates), 1) if rates else None

    def _of(self, replica_id: str) -> float | None:
        counts = self._counts.get(replica_id)
        if not counts or (elapsed_s := counts[-1][0] - counts[0][0]) < LEAST_S:
            return None
        return max(0, counts[-1][1] - counts[0][1]) / elapsed_s
