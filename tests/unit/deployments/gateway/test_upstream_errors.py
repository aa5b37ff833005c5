from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import ContextLengthExceeded, InvalidRequest, RaymuxError, UpstreamError
from deployments.gateway.upstream_errors import MAX_MESSAGE_CHARS, from_engine

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "detail", "message", "param", "loc", "msg", "x"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


def vllm(message: str, code: int = 400, param: object = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": param, "code": code}}).encode()


@given(
    status=st.integers(400, 599),
    body=st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()),
)
def test_any_refusal_becomes_an_error_with_a_message(status: int, body: bytes) -> None:
    error = from_engine(status, body)
    assert isinstance(error, RaymuxError)
    assert error.message
    assert len(error.message) <= MAX_MESSAGE_CHARS + 3
    assert (error.status >= 500) == (status >= 500)


def test_a_refusal_keeps_its_message_and_its_parameter() -> None:
    error = from_engine(400, vllm("temperature must be non-negative", param="temperature"))
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.param) == ("temperature must be non-negative", "temperature")


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 2048 tokens. However, you requested 5000 tokens.",
        "The decoder prompt (length 3000) is longer than the maximum model length of 2048.",
        "max_tokens is too large: max_model_len is 2048",
    ],
)
def test_a_prompt_that_does_not_fit_has_a_code_of_its_own(message: str) -> None:
    assert isinstance(from_engine(400, vllm(message)), ContextLengthExceeded)


@pytest.mark.parametrize("loc", [None, 1, "body", {}])
def test_a_place_in_an_unknown_form_is_left_out(loc: object) -> None:
    error = from_engine(400, json.dumps({"detail": [{"loc": loc, "msg": "no number"}]}).encode())
    assert (error.message, error.param) == ("no number", None)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_engines_failure_tells_nothing_of_its_insides(status: int) -> None:
    error = from_engine(status, vllm("CUDA error at /opt/venv/lib/vllm/worker.py:12", status))
    assert isinstance(error, UpstreamError)
    assert "/opt" not in error.message


def test_the_callers_input_is_not_echoed() -> None:
    message = (
        "1 validation error: {'type': 'missing', 'loc': ('body', 'x'), 'msg': 'Field required', 'input': {'secret': 1}}"
    )
    assert "secret" not in from_engine(400, vllm(message)).message
    pydantic = "2 errors\\n  n\\n Input should be an integer [type=int_type, input_value='secret', input_type=str]"
    assert "secret" not in from_engine(400, vllm(pydantic)).message


def test_a_detail_in_fastapis_form_is_read() -> None:
    body = {
        "detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Field required", "input": {"content": "secret"}}]
    }
    error = from_engine(422, json.dumps(body).encode())
    assert (error.message, error.param) == ("messages.0.role: Field required", "messages.0.role")
    assert from_engine(400, b'{"detail": "Not allowed"}').message == "Not allowed"


@pytest.mark.parametrize(
    "body", [b"", b"Bad Gateway", b"\xff", b"[]", b"{}", b'{"error": "x"}', b'{"detail": [1]}', b"[" * 10_000]
)
def test_a_refusal_that_cannot_be_read_still_says_something(body: bytes) -> None:
    assert from_engine(400, body).message == "The engine refused this request."


@pytest.mark.parametrize("filler", [" ", "input", "[ ", ", ", "'input"])
def test_a_huge_message_costs_no_time(filler: str) -> None:
    begun_s = time.process_time()
    from_engine(400, vllm("x" + filler * (60_000 // len(filler)) + "y"))
    assert time.process_time() - begun_s < 0.5
