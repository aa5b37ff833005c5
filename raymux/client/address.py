"""Where raymux is, and the key for it: from arguments, else from the environment.

Only raymux's own key variable is read. `OPENAI_API_KEY` is a secret between its owner and OpenAI, and would end up with
whoever runs the server that `RAYMUX_URL` names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

DEFAULT_URL = "http://127.0.0.1:8000"
# The first that is set counts; the others are older names of it.
URL_VARIABLES = ("RAYMUX_URL", "INFERENCE_URL", "BENTOML_URL")
KEY_VARIABLE = "RAYMUX_API_KEY"


class Address(NamedTuple):
    """`url` without `/v1` and without a slash at its end; `api_key` is None where none is known."""

    url: str
    api_key: str | None = None

    @property
    def api_url(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"


def find_address(
    url: str | None = None, api_key: str | None = None, environment: Mapping[str, str] = os.environ
) -> Address:
    """The arguments where they are given, else the environment's, else the default. Raises ValueError for a bad URL."""
    return Address(
        plain_url(url or url_in(environment) or DEFAULT_URL), api_key or environment.get(KEY_VARIABLE) or None
    )


def url_in(environment: Mapping[str, str]) -> str | None:
    """The address that the environment names, if it does."""
    return next((environment[name] for name in URL_VARIABLES if environment.get(name)), None)


def plain_url(url: str) -> str:
    """A URL as `Address` holds it: `host:8000`, `http://host:8000/` and `http://host:8000/v1` are the same.

    Raises ValueError when it is neither http nor https.
    """
    url = url.strip()
    if "://" not in url:
        url = f"http://{url}"
    if not url.startswith(("http://", "https://")) or url.endswith("://"):
        raise ValueError(f"expected an address such as {DEFAULT_URL}, not {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
