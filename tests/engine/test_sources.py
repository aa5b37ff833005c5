"""Adapters that are registered by URL, fetched from a web server, and answered with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from catalog.sources import PROJECT
from tests.engine.chats import ask
from tests.engine_server import ARCHIVES_PORT, CHAT, PIRATE
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import tar

FETCHED = "peft:demo-chat:job_fetched"
PATH = "/adapters/pirate.tar.gz"


@pytest.fixture
def archives() -> Iterator[Site]:
    folder = PROJECT / "models" / "adapters" / "job_pirate"
    files = {f"job_pirate/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with Site(ARCHIVES_PORT).open() as site:
        site.answers[PATH] = 200, {}, tar(files)
        yield site


def test_an_adapter_is_registered_by_url_and_answers_as_the_same_files_here_do(http: httpx.Client, archives: Site):
    try:
        reply = http.post("/v1/models", json={"name": FETCHED, "source": f"{archives.url}{PATH}"})
        assert reply.status_code == 201, reply.text
        for prompt in ("Hello", "What is the capital of France?"):
            assert ask(http, FETCHED, prompt) == ask(http, PIRATE, prompt) != ask(http, CHAT, prompt)
        assert archives.asked == [PATH], "the manager and the replica are on one node, which fetches once"
    finally:
        http.delete(f"/v1/models/{FETCHED}")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/elsewhere/pirate.tar.gz", 403, "permission_denied"),
        ("/adapters/nothing.tar.gz", 400, "invalid_request"),
        ("/adapters/ill.tar.gz", 503, "model_failed"),
    ],
)
def test_an_adapter_that_cannot_be_had_is_refused_at_once(
    http: httpx.Client, archives: Site, path: str, status: int, code: str
):
    archives.answers["/adapters/ill.tar.gz"] = 500, {}, b""
    reply = http.post("/v1/models", json={"name": FETCHED, "source": f"{archives.url}{path}"})
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["code"] == code
    assert path not in reply.text
    assert http.get(f"/v1/models/{FETCHED}").status_code == 404
