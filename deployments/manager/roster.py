"""A variant's replicas: what each said of itself last, when it was heard, and which have fallen silent."""

from __future__ import annotations

from catalog.replicas import ReplicaReport, ReplicaState

# On a crowded machine a replica that serves may not come to speak for seconds.
SILENT_AFTER_S = 8.0
HUNG_AFTER_S = 30.0
# Imports and loading hold a starting replica's interpreter for seconds at a time.
STARTING_SILENT_AFTER_S = 90.0
# A report that was under way when its replica left may come after the last one; none is under way for this long.
LEFT_KEPT_S = 60.0


class Roster:
    """Times are of the manager's own clock, in seconds: those of other nodes may be off."""

    def __init__(self) -> None:
        self.reports: dict[str, ReplicaReport] = {}
        # Those in `reports`, and those that were in it and may only hang.
        self._heard_s: dict[str, float] = {}
        # When those that left said so, by their clock, and when that was heard.
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, report: ReplicaReport, now_s: float) -> bool:
        """Note a report; False for one that is older than what is known."""
        if report.replica_id in self._left and report.sent_at_s < self._left[report.replica_id][0]:
            return False
        known = self.reports.get(report.replica_id)
        if known is not None and known.sent_at_s > report.sent_at_s:
            return False
        if report.state in (ReplicaState.GONE, ReplicaState.FAILED):
            self.reports.pop(report.replica_id, None)
            self._heard_s.pop(report.replica_id, None)
            self._left[report.replica_id] = report.sent_at_s, now_s
        else:
            self.reports[report.replica_id] = report
            self._heard_s[report.replica_id] = now_s
        return True

    def drop(self, replica_id: str) -> None:
        """Count on a replica no more until it reports again. One that had started may hang."""
        report = self.reports.pop(replica_id, None)
        if report is not None and report.state is ReplicaState.STARTING:
            del self._heard_s[replica_id]

    def drop_silent(self, now_s: float) -> bool:
        """Drop replicas that have not reported for long: their process or node is gone, or hangs. Whether any has."""
        self._left = {id: left for id, left in self._left.items() if now_s - left[1] < LEFT_KEPT_S}
        silent = [
            replica_id
            for replica_id, report in self.reports.items()
            if now_s - self._heard_s[replica_id]
            > (STARTING_SILENT_AFTER_S if report.state is ReplicaState.STARTING else SILENT_AFTER_S)
        ]
        for replica_id in silent:
            self.drop(replica_id)
        return bool(silent)

    def take_hung(self, now_s: float) -> list[str]:
        """Those that were dropped and have stayed silent for so long that they must be ended; each is named once."""
        hung = [
            replica_id
            for replica_id, heard_s in self._heard_s.items()
            if replica_id not in self.reports and now_s - heard_s > HUNG_AFTER_S
        ]
        for replica_id in hung:
            del self._heard_s[replica_id]
        return hung
