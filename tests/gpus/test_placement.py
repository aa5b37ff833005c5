"""Requests that launch nodes with GPUs, and which variant `auto` takes, on Ray's fake autoscaler."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.fake_cluster import FakeCluster
from tests.integration.calls import chat, error, lines
from tests.server import RunningServer, wait_until

GONE_TIMEOUT_S = 60


def gpu(reply: httpx.Response) -> str:
    """The shape that answered and why it was chosen."""
    assert reply.status_code == 200, reply.text
    return reply.headers["x-raymux-gpu"]


def asked(server: RunningServer, model: str, preference: str) -> str:
    return gpu(chat(server, model, headers={"X-GPU-Preference": preference}))


@contextlib.contextmanager
def held(server: RunningServer, model: str) -> Iterator[None]:
    """Keeps a model on its GPUs, whatever the traffic; afterwards it is cold."""
    wish = {"model": model, "keep_warm_s": 600, "wait": True}
    reply = httpx.post(f"{server.url}/v1/warmup", json=wish, timeout=90)
    assert reply.status_code == 200, reply.text
    try:
        yield
    finally:
        httpx.delete(f"{server.url}/v1/warmup/{reply.json()['id']}", timeout=30)
        make_cold(server, model)


def make_cold(server: RunningServer, model: str) -> None:
    httpx.post(f"{server.url}/v1/models/{model}/stop?drain=true", timeout=30).raise_for_status()
    wait_until(lambda: all(not each["replicas"] for each in of(server, model)), 30, f"{model} has no replica")
    # Starting is allowed again; nothing asks for it.
    server.wait_for_state(model, "stopped", 30)
    httpx.post(f"{server.url}/v1/models/{model}/start", timeout=30).raise_for_status()


def of(server: RunningServer, model: str) -> list[dict]:
    return [each for each in server.variants() if each["model"] == model]


@pytest.fixture
def cold(server: RunningServer, cluster: FakeCluster) -> None:
    """Nothing runs, and no node is there but the head."""
    wait_until(lambda: all(not each["replicas"] for each in server.variants()), GONE_TIMEOUT_S, "all is cold")
    wait_until(lambda: not cluster.nodes(), GONE_TIMEOUT_S, "the nodes are gone")


@pytest.mark.usefixtures("cold")
def test_a_request_launches_its_node_and_both_leave_when_idle(server: RunningServer, cluster: FakeCluster) -> None:
    assert asked(server, "big", "H100:4") == "H100:4;reason=addable"
    assert cluster.nodes() == ["h100"]
    status = server.status("big")
    assert (status["state"], status["chosen_because"], len(status["replicas"])) == ("ready", "addable", 1)
    server.wait_for_state("big", "cold", GONE_TIMEOUT_S)
    wait_until(lambda: not cluster.nodes(), GONE_TIMEOUT_S, "the node is gone")


@pytest.mark.usefixtures("cold")
def test_auto_takes_what_is_addable_starting_and_warm(server: RunningServer, cluster: FakeCluster) -> None:
    first: list[str] = []
    asking = threading.Thread(target=lambda: first.append(asked(server, "choosy", "L40S:2")))
    asking.start()
    wait_until(lambda: server.status("choosy", "L40S:2")["state"] == "scheduling", 10, "it is asked for")
    assert gpu(chat(server, "choosy")) == "L40S:2;reason=starting"
    asking.join()
    assert first == ["L40S:2;reason=addable"]
    assert gpu(chat(server, "choosy")) == "L40S:2;reason=warm"
    assert cluster.nodes() == ["l40s"]


@pytest.mark.usefixtures("cold")
def test_auto_takes_the_free_gpus_of_a_node_that_runs(server: RunningServer, cluster: FakeCluster) -> None:
    with held(server, "holds-one-h100"):
        assert gpu(chat(server, "pair")) == "H100:2;reason=placeable"
        assert cluster.nodes() == ["h100"]


@pytest.mark.usefixtures("cold")
def test_a_list_is_tried_in_its_order_whatever_is_warm(server: RunningServer) -> None:
    assert gpu(chat(server, "choosy")) == "L40S:2;reason=addable"
    assert asked(server, "choosy", "H100:8, A10G, L40S:2") == "A10G;reason=addable"
    assert asked(server, "choosy", "L40S:2, A10G") == "L40S:2;reason=warm"
    assert error(chat(server, "choosy", gpu_preference=["H100:4"]))["code"] == "gpu_not_supported_for_model"


@pytest.mark.usefixtures("cold")
def test_a_model_spills_to_the_cpu_when_its_gpus_are_held_and_comes_back(server: RunningServer) -> None:
    with held(server, "holds-a10g"):
        with held(server, "holds-l40s"):
            assert gpu(chat(server, "choosy")) == "CPU;reason=spill"
            assert server.status("choosy", "CPU")["chosen_because"] == "spill"
            assert gpu(chat(server, "choosy")) == "CPU;reason=warm"
        seen: list[str] = []

        def is_back() -> bool:
            seen.append(gpu(chat(server, "choosy")))
            time.sleep(0.2)
            return seen[-1] == "L40S:2;reason=warm"

        wait_until(is_back, 60, "requests go to the GPU again")
        assert set(seen) <= {"CPU;reason=warm", "L40S:2;reason=warm"}, "nobody waited for the GPU"


@pytest.mark.usefixtures("cold")
def test_a_full_variant_is_relieved_by_the_next_one_and_at_last_by_the_cpu(server: RunningServer) -> None:
    assert asked(server, "choosy", "L40S:2") == "L40S:2;reason=addable"
    streams = []
    try:
        for shape in ("L40S:2", "A10G"):
            streams += [lines(server, "choosy", 5_000, **{"X-GPU-Preference": shape}) for _ in range(2)]
            for stream in streams[-2:]:
                next(stream)
            wait_until(lambda shape=shape: server.status("choosy", shape)["num_running"] == 2, 10, "it is full")
            expected = {"L40S:2": "A10G;reason=warm", "A10G": "CPU;reason=warm"}[shape]
            seen: set[str] = set()

            def is_relieved(expected: str = expected, seen: set[str] = seen) -> bool:
                seen.add(gpu(chat(server, "choosy", 1)))
                return expected in seen

            wait_until(is_relieved, 60, expected)
            # Until then requests went to a full one rather than waiting for a start.
            assert all(each in (expected, "L40S:2;reason=full", "A10G;reason=full") for each in seen), seen
    finally:
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("cold")
def test_where_another_model_holds_the_gpu_a_request_waits_for_it(server: RunningServer) -> None:
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(asked(server, "choosy", "A10G")))
    with held(server, "holds-a10g"):
        waiting.start()
        server_state = wait_until(lambda: server.status("choosy", "A10G")["state"] == "scheduling", 20, "it waits")
        assert server_state < 20
        assert not answers
    waiting.join(60)
    assert answers == ["A10G;reason=occupied"]


def test_what_no_node_could_hold_is_refused_at_once(server: RunningServer) -> None:
    begun_s = time.monotonic()
    refused = chat(server, "giant")
    assert refused.status_code == 503
    assert error(refused)["code"] == "gpu_unavailable"
    assert "retry-after" in refused.headers
    assert time.monotonic() - begun_s < 3


@pytest.mark.usefixtures("cold")
def test_a_warmup_keeps_its_node_through_idle_time(server: RunningServer, cluster: FakeCluster) -> None:
    wish = {"model": "big", "keep_warm_s": 20, "gpu_preference": "H100:4", "wait": True}
    warmup = httpx.post(f"{server.url}/v1/warmup", json=wish, timeout=90).json()
    assert (warmup["state"], warmup["gpu"]) == ("ready", "H100:4"), warmup
    (pid,) = server.replica_pids("big")
    kept_until_s = time.monotonic() + 15
    while time.monotonic() < kept_until_s:
        assert server.replica_pids("big") == [pid]
        assert cluster.nodes() == ["h100"]
        time.sleep(0.5)
    wait_until(lambda: not cluster.nodes(), GONE_TIMEOUT_S, "the node is gone")


def test_gpus_tells_what_there_is_and_may_be(server: RunningServer) -> None:
    found = httpx.get(f"{server.url}/v1/gpus", timeout=10).json()["data"]
    by_type = {entry["type"]: entry for entry in found}
    assert by_type["H100"]["total"] + by_type["H100"]["addable"] == 4
    assert by_type["B200"] == {
        "type": "B200", "object": "gpu", "total": 0, "free": 0, "addable": 0,
        "shapes": [{"shape": "B200:8", "models": ["giant"]}],
    }  # fmt: skip
    assert {entry["shape"] for entry in by_type["L40S"]["shapes"]} == {"L40S:2"}


@pytest.mark.parametrize(
    ("wish", "valid", "code"),
    [
        ({"gpu_preference": "H100:4", "model": "big"}, True, None),
        ({"gpu_preference": ["L40S:2", "A10G"], "model": "choosy"}, True, None),
        ({"gpu_preference": "auto", "model": "giant"}, True, "gpu_unavailable"),
        ({"gpu_preference": "H100:3", "model": "big"}, False, "gpu_not_supported_for_model"),
        ({"gpu_preference": "H100:0"}, False, "invalid_gpu_preference"),
        ({"gpu_preference": "h100"}, False, "invalid_gpu_preference"),
        ({"gpu_preference": "TPU"}, False, "invalid_gpu_preference"),
        ({"gpu_preference": ["H100"] * 100}, False, "invalid_gpu_preference"),
    ],
)
def test_validation_says_yes_or_why_not(server: RunningServer, wish: dict, valid: bool, code: str | None) -> None:
    reply = httpx.post(f"{server.url}/v1/gpus/validate", json=wish, timeout=10)
    assert reply.status_code == 200
    assert reply.json()["valid"] is valid
    assert reply.json().get("error", {}).get("code") == code


def test_validation_of_nothing_known_is_a_clear_refusal(server: RunningServer) -> None:
    unknown = httpx.post(f"{server.url}/v1/gpus/validate", json={"model": "nobody"}, timeout=10)
    assert (unknown.status_code, error(unknown)["code"]) == (404, "model_not_found")
    odd = httpx.post(f"{server.url}/v1/gpus/validate", json={"shape": "H100"}, timeout=10)
    assert (odd.status_code, error(odd)["code"]) == (400, "invalid_request")
    long = httpx.post(
        f"{server.url}/v1/gpus/validate", json={}, headers={"X-GPU-Preference": "H100," * 800}, timeout=10
    )
    assert long.json()["error"]["code"] == "invalid_gpu_preference"
