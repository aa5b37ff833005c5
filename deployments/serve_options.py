"""Where Serve listens. Ray 2.60 tells a replica this only through its private client."""

from __future__ import annotations

from ray.serve.context import _get_global_client


def serve_host() -> str:
    """The address of Serve's HTTP ingress, as its configuration has it."""
    client = _get_global_client()
    assert client is not None
    return client.http_config.host or ""
