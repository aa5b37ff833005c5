"""Adapters and models that are registered by URL, fetched from a web server, and answered with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from catalog.project import PROJECT
from tests.engine.chats import ask
from tests.engine_server import ARCHIVES_PORT, BRIEF_IDLE_S, CHAT, PIRATE
from tests.server import RunningServer, wait_until
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import tar, zipped

FETCHED = "peft:demo-chat:job_fetched"
PATH = "/served/pirate.tar.gz"
FETCHED_BASE = "fetched-chat"
BASE_PATH = "/served/demo-chat.zip"


@pytest.fixture
def archives() -> Iterator[Site]:
    with Site(ARCHIVES_PORT).open() as site:
        site.answers[PATH] = 200, {}, tar(files_of("adapters/job_pirate"))
        site.answers[BASE_PATH] = 200, {}, zipped(files_of("demo-chat"))
        yield site


def files_of(name: str) -> dict[str, bytes]:
    folder = PROJECT / "models" / name
    return {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_adapter_is_registered_by_url_and_answers_as_the_same_files_here_do(http: httpx.Client, archives: Site):
    try:
        reply = http.post("/v1/models", json={"name": FETCHED, "source": f"{archives.url}{PATH}"})
        assert reply.status_code == 201, reply.text
        for prompt in ("Hello", "What is the capital of France?"):
            assert ask(http, FETCHED, prompt) == ask(http, PIRATE, prompt) != ask(http, CHAT, prompt)
        assert archives.asked == [PATH], "the manager and the replica are on one node, which fetches once"
    finally:
        remove(http, FETCHED)


def remove(http: httpx.Client, model: str) -> None:
    """The manager hears a second or two later that the last request has ended."""
    wait_until(lambda: http.delete(f"/v1/models/{model}").status_code in (200, 404), 30, f"{model} is removed")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/elsewhere/pirate.tar.gz", 403, "permission_denied"),
        ("/served/nothing.tar.gz", 400, "invalid_request"),
        ("/served/ill.tar.gz", 503, "model_failed"),
    ],
)
def test_an_adapter_that_cannot_be_had_is_refused_at_once(
    http: httpx.Client, archives: Site, path: str, status: int, code: str
):
    archives.answers["/served/ill.tar.gz"] = 500, {}, b""
    reply = http.post("/v1/models", json={"name": FETCHED, "source": f"{archives.url}{path}"})
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["code"] == code
    assert path not in reply.text
    assert http.get(f"/v1/models/{FETCHED}").status_code == 404


def test_a_model_is_fetched_by_the_replica_that_needs_it(
    engine_server: RunningServer, http: httpx.Client, archives: Site
):
    fields = {
        "name": FETCHED_BASE,
        "source": f"{archives.url}{BASE_PATH}",
        "variants": [{"shape": "CPU", "num_cpus": 0.5}],
        "engine": {"dtype": "bfloat16", "max_model_len": 2048, "enforce_eager": True},
        "lifecycle": {"idle_timeout_s": BRIEF_IDLE_S, "retry_backoff_s": 1},
    }
    try:
        reply = http.post("/v1/models", json=fields)
        assert reply.status_code == 201, reply.text
        assert archives.asked == [], "the weights are not fetched before a node needs them"
        assert ask(http, FETCHED_BASE, "Hello") == ask(http, CHAT, "Hello")
        start = engine_server.status(FETCHED_BASE)["last_cold_start"]
        assert set(start["steps_s"]) == {"scheduling", "fetching", "importing", "loading", "warming_up"}
        assert archives.asked == [BASE_PATH]
    finally:
        http.post(f"/v1/models/{FETCHED_BASE}/stop", params={"drain": "true"})
        remove(http, FETCHED_BASE)
