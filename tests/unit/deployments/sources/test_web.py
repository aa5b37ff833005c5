from __future__ import annotations

import pytest
from yarl import URL

from catalog.sources import SourceRefused
from deployments.sources.web import _redirected


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        ("http://h.example/a.zip", "https://h.example/a.zip", "https://h.example/a.zip"),
        ("https://h.example/x/a.zip", "../b.zip", "https://h.example/b.zip"),
        ("https://h.example/a.zip", "//h.example/b.zip", "https://h.example/b.zip"),
        ("https://h.example/a.zip", "http://h.example/a.zip", None),
        ("https://h.example/a.zip", "https://h.example:8443/a.zip", None),
        ("https://h.example/a.zip", "//other.example/a.zip", None),
        ("https://h.example/a.zip", "https://h.example@other.example/a.zip", None),
        ("http://h.example:8080/a.zip", "https://h.example/a.zip", None),
        ("https://h.example/a.zip", "", "https://h.example/a.zip"),
    ],
)
def test_a_redirection_stays_on_its_server_and_on_https(url: str, location: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(SourceRefused, match="another one"):
            _redirected(URL(url), location)
    else:
        assert str(_redirected(URL(url), location)) == expected
