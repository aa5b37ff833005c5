"""What the README and the pages show is run, as it stands there, on the embedded default with real vLLM."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import PROJECT, RunningServer, wait_until
from tests.snippets import Snippet, snippets

RUNNABLE = [snippet for snippet in snippets() if snippet.can_run]
# curl as the pages call it, but for telling of an error by its exit status.
SHELL = 'set -euo pipefail; curl() { command curl --fail-with-body --silent --show-error --max-time 120 "$@"; }\n'


@pytest.fixture(autouse=True, scope="module")
def without_what_snippets_leave(engine_server: RunningServer) -> Iterator[None]:
    """End the warm-ups that snippets begin and remove what they register, so that later tests find what they know."""
    with engine_server.client() as client:
        before = {model["id"] for model in client.get("/v1/models").json()["data"]}
        yield
        for warmup in client.get("/v1/warmup").json()["data"]:
            client.delete(f"/v1/warmup/{warmup['id']}")
        # A webhook's event is taken at once and done a little later.
        wait_until(lambda: "pending" not in client.get("/v1/webhooks").text, 10, "events are done")
        for model in client.get("/v1/models").json()["data"]:
            if model["id"] not in before:
                client.delete(f"/v1/models/{model['id']}").raise_for_status()


@pytest.mark.parametrize("snippet", RUNNABLE, ids=str)
def test_a_snippet_does_what_its_page_says(engine_server: RunningServer, snippet: Snippet, tmp_path: Path) -> None:
    code = snippet.at(engine_server.url)
    command = ["bash", "-c", SHELL + code] if snippet.language == "bash" else [sys.executable, "-c", code]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "RAYMUX_"))}
    environment |= {"RAYMUX_URL": engine_server.url, "RAYMUX_PROFILES": str(tmp_path / "profiles.json")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.stdout.strip()
