from __future__ import annotations

import email.utils

import pytest

from catalog.errors import UpstreamError
from deployments.gateway.provider_errors import Refusal, from_status, retry_after_of, scrubbed

NOW_S = 1_000_000.0


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529, 599])
def test_a_provider_that_fails_is_to_blame(status: int):
    assert isinstance(from_status("p", status, b"", None, "k"), UpstreamError)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 413, 418, 422, 429])
@pytest.mark.parametrize(
    "body", [b"", b"[" * 100_000, b'{"error": 7}', b'{"error": "no"}', b'{"error": {"message": 7}}']
)
def test_a_refusal_is_no_failure_of_the_provider_whatever_it_says(status: int, body: bytes):
    found = from_status("p", status, body, None, "k")
    assert isinstance(found, Refusal)
    assert found.is_retryable == (status == 429)


def test_without_a_quota_no_wait_helps():
    found = from_status("p", 429, b'{"error": {"code": "insufficient_quota"}}', None, "k")
    assert isinstance(found, Refusal)
    assert not found.is_retryable


@pytest.mark.parametrize(
    "text",
    [
        "the-key-of-raymux",
        "sk-proj-abc_DEF-123456",
        "Bearer abc.def.ghi",
        "AbCdEf0123456789AbCdEf0123456789",
        "sk-ab***yz12",
    ],
)
def test_nothing_that_may_be_a_key_is_told(text: str):
    told = scrubbed(f"your key {text} is\nwrong", "the-key-of-raymux")
    assert text not in told
    assert told == "your key … is wrong"


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [(None, None), ("7", 7), ("-3", 0), ("soon", None), ("nan", 0), ("inf", 86_400), ("1" * 200, None),
     (email.utils.formatdate(NOW_S + 30, usegmt=True), 30), (email.utils.formatdate(NOW_S - 30, usegmt=True), 0)],
)  # fmt: skip
def test_a_retry_after_is_read(header: str | None, wait_s: float | None):
    assert retry_after_of(header, NOW_S) == wait_s
