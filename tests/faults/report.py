"""The table of the fault suite: what broke, and what its clients saw."""

from __future__ import annotations

from typing import NamedTuple

from tests.faults.traffic import Traffic

HEAD = (
    "Fault", "Requests sent", "Failed before first byte", "Streams broken", "Recovery, s", "Slowest first byte, s",
)  # fmt: skip


class Row(NamedTuple):
    """One fault. `recovery_s` is from the fault to the next whole answer after the last failure."""

    fault: str
    num_sent: int
    num_refused: int
    num_broken: int
    recovery_s: float
    slowest_first_byte_s: float


class Report:
    """The rows so far, in the order of the tests."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, fault: str, traffic: Traffic) -> None:
        """Take down what came of a fault. To be called when the traffic has ended."""
        row = Row(
            fault,
            traffic.num_sent,
            len(traffic.refused),
            len(traffic.broken),
            traffic.recovery_s,
            traffic.slowest_first_byte_s,
        )
        self.rows.append(row)
        print(f"{row}; {traffic}")

    def lines(self) -> list[str]:
        """The table in Markdown."""
        body = [(*map(str, row[:4]), f"{row.recovery_s:.1f}", f"{row.slowest_first_byte_s:.1f}") for row in self.rows]
        rows = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *body]
        return [f"| {' | '.join(cells)} |" for cells in rows]
