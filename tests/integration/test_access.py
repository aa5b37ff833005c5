"""Keys and limits through the front door of a running server."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.calls import CLIENT, FEW_KEY, USER_KEY, chat, error
from tests.redis_server import RedisServer
from tests.server import RunningServer, wait_until


def key(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "headers", [{"authorization": ""}, key("rmx-nobody-s-key-at-all"), {"authorization": "Basic x"}]
)
def test_without_a_valid_key_only_the_public_paths_answer(server: RunningServer, headers: dict[str, str]) -> None:
    refused = chat(server, "fast", headers=headers)
    assert (refused.status_code, error(refused)["code"]) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"
    for path, status in {"/health": 200, "/ready": 200, "/": 200, "/v1/models": 401, "/v1/status": 401}.items():
        assert CLIENT.get(f"{server.url}{path}", headers=headers).status_code == status, path


def test_a_user_s_key_infers_and_changes_nothing(server: RunningServer) -> None:
    assert chat(server, "fast", headers=key(USER_KEY)).status_code == 200
    for method, path in (("POST", "/v1/models/fast/stop"), ("POST", "/v1/warmup"), ("DELETE", "/v1/models/fast")):
        refused = CLIENT.request(method, f"{server.url}{path}", headers=key(USER_KEY))
        assert (refused.status_code, error(refused)["code"]) == (403, "permission_denied")


def num_requests(server: RunningServer) -> float:
    """Of the chat endpoint, by all gateways so far."""
    url = f"{server.url}/metrics"
    # A manager that is seconds old has not heard of all gateways, and says so.
    wait_until(lambda: CLIENT.get(url).status_code == 200, 20, "the totals are known")
    text = CLIENT.get(url).raise_for_status().text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "inference_requests_total" and sample.labels["endpoint"] == "/v1/chat/completions"
    )


def test_a_limit_is_shared_survives_its_gateway_and_does_without_redis(
    server: RunningServer, redis_server: RedisServer
) -> None:
    def status() -> int:
        return chat(server, "fast", headers=key(FEW_KEY)).status_code

    assert chat(server, "herd", headers=key(FEW_KEY)).status_code == 403
    assert [status() for _ in range(4)] == [200, 200, 200, 429]
    counted = num_requests(server)
    assert counted >= 5
    server.serve_process("Gateway").kill()

    def is_up() -> bool:
        try:
            return CLIENT.get(f"{server.url}/ready").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(is_up, 60, "a gateway answers")
    # A gateway that counted for itself would leave two.
    assert int(chat(server, "fast", headers=key(FEW_KEY)).headers["x-ratelimit-remaining-requests"]) < 2
    # What the killed gateway had told is not lost with it, though it had no time to push it.
    assert num_requests(server) > counted
    redis_server.freeze()
    assert [status() for _ in range(4)] == [200, 200, 200, 429]
    assert CLIENT.get(f"{server.url}/ready").json()["redis"] == "unavailable"
    redis_server.thaw()
    wait_until(
        lambda: status() and CLIENT.get(f"{server.url}/ready").json()["redis"] == "available", 30, "Redis is back"
    )
