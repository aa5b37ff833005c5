"""What Ray 2.60 tells a replica by private objects only: where Serve listens, and that the replica is to leave."""

from __future__ import annotations

from ray._private.worker import global_worker
from ray.serve.context import _get_global_client


def serve_host() -> str:
    """The address of Serve's HTTP ingress, as its configuration has it."""
    client = _get_global_client()
    assert client is not None
    return client.http_config.host or ""


def grace_s() -> float | None:
    """How long this process's replica has from the moment Serve told it to leave; None as long as it stays.

    Serve calls a deployment's own code only when the last request has ended, or not at all when the time is over.
    """
    replica = global_worker.actors[global_worker.actor_id]._replica_impl
    return replica._deployment_config.graceful_shutdown_timeout_s if replica._shutting_down else None
