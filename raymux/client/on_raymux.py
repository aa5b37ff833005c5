"""What makes an official client one of raymux: where it goes, with which key, and who is told of cold starts."""

from __future__ import annotations

from typing import Any

import httpx2

from raymux.client.address import find_address
from raymux.client.cold_start import OnColdStart

# Not bounded by the time a model takes to start (600 s unless configured otherwise) and then to answer.
DEFAULT_TIMEOUT = httpx2.Timeout(1800, connect=5)
# OpenAI's client would take the key of OpenAI from the environment if it got none.
NO_KEY = "none"


class OnRaymux:
    """To be inherited from before `OpenAI` or `AsyncOpenAI`, whose other arguments it passes on."""

    def __init__(
        self,
        base_url: str | httpx2.URL | None = None,
        api_key: Any = None,
        *,
        on_cold_start: OnColdStart | None = None,
        timeout: Any = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> None:
        address = find_address(
            None if base_url is None else str(base_url), api_key if isinstance(api_key, str) else None
        )
        key = api_key if callable(api_key) else address.api_key or NO_KEY
        official: Any = super()
        official.__init__(base_url=address.api_url, api_key=key, timeout=timeout, **options)
        # Those of the environment are meant for OpenAI.
        for name in ("organization", "project", "admin_api_key"):
            setattr(self, name, options.get(name))
        self.on_cold_start = on_cold_start

    def copy(self, **options: Any) -> Any:
        """As the official client's; `on_cold_start` may be given, too."""
        on_cold_start = options.pop("on_cold_start", self.on_cold_start)
        extra = {**options.pop("_extra_kwargs", {}), "on_cold_start": on_cold_start}
        official: Any = super()
        return official.copy(**options, _extra_kwargs=extra)

    with_options = copy
