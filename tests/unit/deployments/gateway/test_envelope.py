from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from catalog.errors import InvalidRequest
from deployments.gateway.envelope import Envelope
from deployments.gateway.exchange import EVENT_STREAM, Reply
from deployments.gateway.metrics import GatewayMetrics
from deployments.wire import Usage
from tests.unit.builders import Client, Sent, http_scope


class Raising:
    """An app that fails with an error, maybe after the first byte."""

    def __init__(self, error: BaseException, *, begun: bool = False) -> None:
        self._error = error
        self._begun = begun

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        reply: Reply = scope["reply"]
        if self._begun:
            await reply.begin(200, EVENT_STREAM)
            await reply.write(b"data: 1\n\n")
        raise self._error


async def enter(app: Any, **headers: str) -> Sent:
    sent = Sent()
    await Envelope(app, GatewayMetrics())(http_scope(**headers), Client(b"{}"), sent)
    return sent


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The access log."""
    logger, kept = logging.getLogger("ray.serve"), Lines()
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept.lines
    logger.setLevel(level)
    logger.removeHandler(kept)


async def test_an_error_is_answered_in_the_one_shape_with_the_requests_id() -> None:
    sent = await enter(Raising(InvalidRequest("n is too large", param="n")), x_request_id="req-7")
    assert sent.status == 400
    assert json.loads(sent.body)["error"]["request_id"] == "req-7"
    assert sent.headers["x-request-id"] == "req-7"


@pytest.mark.parametrize(
    ("status", "code"), [(404, "not_found"), (405, "method_not_allowed"), (400, "invalid_request")]
)
async def test_the_frameworks_refusals_have_the_same_shape(status: int, code: str) -> None:
    sent = await enter(Raising(HTTPException(status, headers={"Allow": "POST"})))
    error = json.loads(sent.body)["error"]
    assert error["code"] == code
    assert status != 405 or "it takes POST" in error["message"]


@pytest.mark.parametrize(
    "error",
    [ValueError("/root/secret"), KeyError("x"), TimeoutError("slow"), OSError("disk /root/secret"), RecursionError()],
)
async def test_a_fault_of_ours_is_a_500_that_tells_nothing(error: Exception) -> None:
    sent = await enter(Raising(error))
    assert (sent.status, json.loads(sent.body)["error"]["code"]) == (500, "internal_error")
    assert b"secret" not in sent.body
    assert b"Traceback" not in sent.body


async def test_a_fault_of_ours_after_the_first_byte_is_an_event_without_done() -> None:
    sent = await enter(Raising(ValueError("x"), begun=True))
    assert sent.status == 200
    assert b'"code": "internal_error"' in sent.body
    assert b"[DONE]" not in sent.body
    assert sent.has_ended


async def test_a_cancellation_is_passed_on() -> None:
    with pytest.raises(asyncio.CancelledError):
        await enter(Raising(asyncio.CancelledError()))


async def test_a_client_that_left_gets_no_reply_and_is_no_fault(lines: list[str]) -> None:
    class Gone(Sent):
        async def __call__(self, message: Any) -> None:
            raise OSError("the client left")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await scope["reply"].whole(200, {})

    await Envelope(app, GatewayMetrics())(http_scope(), Client(), Gone())
    assert len(lines) == 1
    assert json.loads(lines[0])["outcome"] == "client_left"


async def test_each_request_leaves_one_line_that_holds_no_prompt_completion_header_or_key(lines: list[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["exchange"]
        exchange.model, exchange.replica, exchange.num_attempts, exchange.usage = "demo-chat", "r1", 1, Usage(7, 2)
        exchange.choice = "warm"
        await scope["reply"].whole(200, {"text": "a-completion"})

    await enter(app, authorization="Bearer sk-key", cookie="a-cookie", x_request_id="req-7")
    (line,) = lines
    assert (
        json.loads(line).items()
        >= {
            "request_id": "req-7",
            "status": 200,
            "outcome": "completed",
            "model": "demo-chat",
            "replica": "r1",
            "choice": "warm",
            "prompt_tokens": 7,
        }.items()
    )
    for part in ("sk-key", "a-cookie", "a-completion", "authorization"):
        assert part not in line


async def test_what_is_not_http_is_passed_through() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await Envelope(app, GatewayMetrics())({"type": "lifespan"}, Client(), Sent())
    assert seen == ["lifespan"]
