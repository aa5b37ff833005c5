from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.engine.mend import MendedApp, stream_error
from tests.unit.builders import Client, Sent, http_scope

VLLM_ERROR = b'data: {"error": {"message": "the engine died", "type": "InternalServerError", "code": 500}}\n\n'


async def mended(*bodies: bytes) -> Sent:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    sent = Sent()
    await MendedApp(app)(http_scope(x_request_id="req-9"), Client(), sent)
    return sent


async def test_a_healthy_stream_passes_unchanged() -> None:
    sent = await mended(b'data: {"choices": []}\n\n', b"data: [DONE]\n\n")
    assert sent.body == b'data: {"choices": []}\n\ndata: [DONE]\n\n'


async def test_an_error_in_a_stream_has_raymux_shape_and_no_done_follows() -> None:
    sent = await mended(b'data: {"choices": []}\n\n', VLLM_ERROR, b"data: [DONE]\n\n")
    first, error, rest = sent.body.split(b"\n\n")
    assert first == b'data: {"choices": []}'
    assert rest == b""
    assert json.loads(error.removeprefix(b"data: "))["error"] == {
        "message": "the engine died", "type": "server_error", "param": None, "code": "upstream_error",
        "request_id": "req-9",
    }  # fmt: skip
    assert sent.has_ended


async def test_an_error_and_done_in_one_piece_are_mended_too() -> None:
    sent = await mended(VLLM_ERROR + b"data: [DONE]\n\n")
    assert b"[DONE]" not in sent.body
    assert b"upstream_error" in sent.body


async def test_text_about_an_error_is_no_error() -> None:
    event = b'data: {"choices": [{"delta": {"content": "data: {\\"error\\""}}]}\n\n'
    assert (await mended(event, b"data: [DONE]\n\n")).body == event + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "event",
    [b'data: {"error": "x"}\n\n', b'data: {"error": {}}\n\n', b'data: {"error', b'data: {"error": null}\n\n', b"\xff"],
)
def test_an_error_event_that_cannot_be_read_still_becomes_an_error(event: bytes) -> None:
    found = stream_error(event, http_scope())
    assert json.loads(found.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert found.endswith(b"\n\n")


def test_a_long_message_is_cut() -> None:
    event = b"data: " + json.dumps({"error": {"message": "x" * 10_000}}).encode()
    assert len(stream_error(event, http_scope())) < 800
