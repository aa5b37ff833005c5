"""Serve's Python proxy, mended: a fake proxy says what the real one would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.front_door.plain import PlainFrontDoor, middlewares
from tests.unit.builders import Client, Sent, http_scope

JSON, STREAM, TEXT = b"application/json", b"text/event-stream", b"text/plain; charset=utf-8"


def head(status: int, content_type: bytes) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [[b"content-type", content_type]]}


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


class Proxy:
    """Sends these messages for each request, and keeps the scopes."""

    def __init__(self, *messages: Message) -> None:
        self._messages = messages
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        for message in self._messages:
            await send(message)


async def through(proxy: Proxy, **headers: str) -> Sent:
    sent = Sent()
    await PlainFrontDoor(proxy)(http_scope(**headers), Client(b"{}"), sent)
    return sent


def error(sent: Sent) -> dict[str, Any]:
    return json.loads(sent.body.removeprefix(b"data: "))["error"]


def test_serve_is_given_the_middleware() -> None:
    assert [each.cls for each in middlewares()] == [PlainFrontDoor]


async def test_what_a_gateway_answers_passes_untouched() -> None:
    sent = await through(Proxy(head(503, JSON), piece(b'{"error": ', more=True), piece(b"{}}")))
    assert (sent.status, sent.body) == (503, b'{"error": {}}')


@pytest.mark.parametrize(("given", "is_kept"), [("req-7", True), ("a b", False), ("<script>", False)])
async def test_the_proxy_sees_harmless_ids_only(given: str, is_kept: bool) -> None:
    proxy = Proxy(head(200, JSON), piece(b"{}"))
    await through(proxy, x_request_id=given)
    (id,) = [value.decode() for name, value in proxy.scopes[0]["headers"] if name == b"x-request-id"]
    assert (id == given) is is_kept
    assert id.isascii()


async def test_a_request_whose_gateway_dies_gets_an_error_with_its_id() -> None:
    sent = await through(Proxy(), x_request_id="req-7")
    assert (sent.status, error(sent)["code"], error(sent)["request_id"]) == (502, "upstream_error", "req-7")
    assert sent.headers["x-request-id"] == "req-7"


async def test_a_refusal_of_the_proxy_is_said_in_the_one_shape() -> None:
    sent = await through(Proxy(head(503, TEXT), piece(b"deployment is unavailable")))
    assert (sent.status, error(sent)["code"]) == (503, "gateway_not_ready")
    assert sent.headers["retry-after"] == "1"


async def test_a_stream_whose_gateway_dies_ends_in_an_error_event() -> None:
    sent = await through(Proxy(head(200, STREAM), piece(b"data: 1\n\n", more=True)))
    begun, _, last = sent.body.partition(b"\n\n")
    assert begun == b"data: 1"
    assert json.loads(last.strip().removeprefix(b"data: "))["error"]["code"] == "upstream_error"


async def test_a_whole_answer_that_is_cut_short_stays_cut() -> None:
    sent = await through(Proxy(head(200, JSON), piece(b'{"choi', more=True)))
    assert sent.body == b'{"choi'
