"""A receiver is on the internet and reached by TLS, unless the operator says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.webhooks import NoticeType, ReceiverSettings
from tests.unit.builders import catalog_settings


def receiver(url: str = "https://example.com/hooks", **fields: Any) -> ReceiverSettings:
    return ReceiverSettings.model_validate({"url": url, "secret_env": "HOOK_SECRET", **fields})


def test_it_is_sent_every_type_unless_it_wants_some() -> None:
    assert receiver().events == tuple(NoticeType)
    assert receiver(events=["model.failed"]).events == (NoticeType.FAILED,)


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/", "https://[2606:4700::1111]/"],
)
def test_the_internet_may_be_sent_to(url: str) -> None:
    assert receiver(url).url == url


INTERNAL = [
    "http://example.com",
    "http://127.0.0.1:9000/hooks",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://10.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "http://receiver.internal/",
]


@pytest.mark.parametrize("url", [url for url in INTERNAL if "receiver" not in url])
def test_what_is_inside_needs_to_be_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="allow_private"):
        receiver(url)


@pytest.mark.parametrize("url", INTERNAL)
def test_what_is_inside_may_be_allowed(url: str) -> None:
    assert receiver(url, allow_private=True).url == url


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://",
        "https://example.com:99999",
        "https://user:pass@example.com",
        "https://example.com/#a",
        "https://exa mple.com",
        "https://exam\tple.com",
        "https://exämple.com",
        "https://example.com\\@127.0.0.1/",
        "https://169.254.169.254/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::]/",
        "https://[fe80::1%25eth0]/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.1%2f@example.com/",
    ],
)
def test_what_cannot_be_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(ValueError):
        receiver(url, allow_private=allow_private)


@pytest.mark.parametrize(
    "fields",
    [
        {"secret_env": "whsec_the_secret_itself"},
        {"secret_env": "RAYMUX_WEBHOOK_SECRETS"},
        {"secret": "x"},
        {"events": []},
        {"events": ["job.started"]},
        {"timeout_s": 0},
    ],
)
def test_other_fields_have_their_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        receiver(**fields)


@pytest.mark.parametrize(
    ("address", "is_allowed", "is_allowed_inside"),
    [("8.8.8.8", True, True), ("10.0.0.1", False, True), ("::1", False, True), ("169.254.169.254", False, False)],
)
def test_a_name_is_judged_by_the_address_it_leads_to(address: str, is_allowed: bool, is_allowed_inside: bool) -> None:
    assert receiver().may_be_at(address) is is_allowed
    assert receiver(allow_private=True).may_be_at(address) is is_allowed_inside


def test_two_receivers_have_two_urls() -> None:
    one = {"url": "https://example.com/hooks", "secret_env": "A"}
    assert len(catalog_settings(webhooks=[one, one | {"url": "https://example.com/others"}]).webhooks) == 2
    with pytest.raises(ValueError, match="two receivers"):
        catalog_settings(webhooks=[one, one | {"secret_env": "B"}])
