"""What a gateway counts, and that nothing a client sends gets into a metric or a log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from catalog.errors import UpstreamError
from deployments.gateway.exchange import Reply
from deployments.metric_families import exposition, snapshot
from deployments.wire import Usage
from router.keys import Keyring
from tests.unit.builders import CHAT, PIRATE, adapter, report
from tests.unit.deployments.gateway.conftest import GatewayUnderTest
from tests.unit.deployments.gateway.test_guard import ADMIN, USER, headers, key

SECRETS = ("a-secret-prompt", "a-secret-completion", USER, ADMIN, "a-secret-cookie", "a-secret-model", "a-secret-path")


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """A metric's samples by the values of their labels, sorted by the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


async def scrape(gateway: GatewayUnderTest, **headers: str) -> str:
    reply = await gateway.get("/metrics", headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return reply.text


async def tokens(reply: Reply) -> None:
    reply.exchange.usage = Usage(7, 3)
    await reply.begin(200, b"application/json")
    await reply.write(b"{}")
    await reply.end()


@pytest.fixture
async def warm(gateway: GatewayUnderTest) -> GatewayUnderTest:
    await gateway.publish(report("r1", adapters=(PIRATE,)))
    return gateway


async def test_requests_are_counted_by_model_endpoint_status_and_outcome(warm: GatewayUnderTest) -> None:
    warm.relay.script = [tokens, tokens, UpstreamError("broken")]
    for _ in range(3):
        await warm.chat()
    await warm.chat(model=PIRATE)
    await warm.chat(model="no-such-model")
    await warm.post("/chat/completions", content=b"not json")
    text = await scrape(warm)
    endpoint = "/v1/chat/completions"
    assert samples(text, "inference_requests_total") == {
        (endpoint, CHAT, "completed", "200"): 2,
        (endpoint, CHAT, "failed", "502"): 1,
        (endpoint, PIRATE, "completed", "200"): 1,
        (endpoint, "none", "rejected", "404"): 1,
        (endpoint, "none", "rejected", "400"): 1,
    }
    assert samples(text, "inference_errors_5xx_total") == {("upstream_error", CHAT): 1}
    assert samples(text, "inference_tokens_total") == {
        ("prompt", CHAT, "default"): 14, ("completion", CHAT, "default"): 6,
    }  # fmt: skip
    assert samples(text, "inference_request_duration_ms_count")[(endpoint, CHAT)] == 3
    assert samples(text, "inference_time_to_first_token_ms_count")[(CHAT,)] == 2
    assert samples(text, "inference_time_per_output_token_ms_count")[(CHAT,)] == 2
    # The scrape itself is under way.
    assert samples(text, "inference_requests_in_flight") == {(): 1}


async def test_without_the_manager_there_is_an_error_and_no_part_of_the_totals(warm: GatewayUnderTest) -> None:
    await warm.chat()
    warm.manager.answers["total_metrics"] = None
    reply = await warm.get("/metrics")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "gateway_not_ready")
    assert reply.headers["retry-after"] == "5"


async def test_metrics_need_an_admin_key(warm: GatewayUnderTest) -> None:
    warm.keyring = Keyring([key("user", USER), key("admin", ADMIN, admin=True)])
    assert (await warm.get("/metrics")).status_code == 401
    assert (await warm.get("/metrics", headers=headers(USER))).status_code == 403
    await scrape(warm, **headers(ADMIN))


async def test_no_secret_reaches_a_log_or_a_metric(warm: GatewayUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    warm.keyring = Keyring([key("user", USER, tenant="acme"), key("admin", ADMIN, admin=True)])
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger.name)

    async def secretive(reply: Reply) -> None:
        reply.exchange.usage = Usage(7, 3)
        await reply.whole(200, {"text": "a-secret-completion"})

    async def fault(reply: Reply) -> None:
        raise UpstreamError("The engine failed to answer this request; try again.")

    async def surprise(reply: Reply) -> None:
        # By their index: a traceback quotes the lines of the source.
        try:
            raise ValueError(SECRETS[1])
        except ValueError as error:
            raise KeyError(SECRETS[0]) from error

    warm.relay.script = [secretive, fault, surprise]
    sent = {**headers(USER), "cookie": "a-secret-cookie", "x-request-id": "a-secret-path /../"}
    messages: list[Any] = [{"role": "user", "content": "a-secret-prompt"}]
    for model in (CHAT, CHAT, CHAT, "a-secret-model"):
        await warm.chat(sent, model=model, messages=messages, user="a-secret-prompt")
    await warm.post("/v1/chat/completions", content=b"a-secret-prompt", headers=sent)
    await warm.post("/a-secret-path", json={}, headers=sent)
    await warm.get("/v1/models/a-secret-model", headers=sent)
    await warm.chat({"authorization": "Bearer a-secret-path"})
    logger.removeHandler(caplog.handler)
    written = logging.Formatter()
    # The client's own log names the paths that it asks for.
    told = "\n".join(written.format(record) for record in caplog.records if record.name != "httpx")
    assert told.count('"request_id"') >= 8
    assert "KeyError" in told
    told += (await scrape(warm, **headers(ADMIN))) + exposition(snapshot(warm.services.metrics.registry)).decode()
    for secret in (*SECRETS, adapter().source, report("r1").secret):
        assert secret not in told, secret
    assert '"tenant": "acme"' in told
