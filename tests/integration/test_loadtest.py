"""The load test, for some seconds on the emulated engine: it measures first tokens, and tells of what fails."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.calls import USER_KEY
from tests.server import PROJECT, RunningServer


def load(server: RunningServer, results: Path, key: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The load test's exit status, and the rows of its table by their names."""
    command = [sys.executable, "-m", "deploy.loadtest.run", "--url", server.url, "--users", "4", "--spawn-rate", "4"]
    done = subprocess.run(
        [*command, "--time", "4s", "--max-tokens", "8", "--results", str(results)],
        cwd=PROJECT,
        env={**os.environ, "RAYMUX_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    print(done.stdout, done.stderr)
    with (results / "loadtest_stats.csv").open() as table:
        return done.returncode, {row["Name"]: row for row in csv.DictReader(table)}


def test_every_request_is_answered_and_first_tokens_are_timed(server: RunningServer, tmp_path: Path) -> None:
    # What waits for a start is measured elsewhere.
    with server.client() as client:
        client.post("/v1/models/fast/start").raise_for_status()
        client.post("/v1/models/embedder/start").raise_for_status()
    server.wait_for_state("fast", "ready")
    server.wait_for_state("embedder", "ready")
    code, rows = load(server, tmp_path, USER_KEY)
    assert code == 0
    for name in ("chat", "chat, first token", "embeddings"):
        assert int(rows[name]["Request Count"]) > 0
        assert int(rows[name]["Failure Count"]) == 0
    assert float(rows["chat, first token"]["Median Response Time"]) <= float(rows["chat"]["Median Response Time"])


def test_refusals_are_failures(server: RunningServer, tmp_path: Path) -> None:
    code, rows = load(server, tmp_path, "rmx-no-such-key-0123456789")
    assert code == 1
    assert int(rows["Aggregated"]["Failure Count"]) == int(rows["Aggregated"]["Request Count"]) > 0
