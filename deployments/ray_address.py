"""Which Ray cluster a server joins: as Ray 2.60 finds it (`ray._private.services.get_ray_address_from_environment`).

Read here, since Ray takes a second to import, and tries an address for minutes at which nothing answers.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from catalog.loading import ConfigError

ANSWER_TIMEOUT_S = 5.0


class RayAddress(NamedTuple):
    """Where a cluster is, as `host:port`, and what says so: a variable or a file."""

    address: str
    told_by: str


def ray_address() -> RayAddress | None:
    """The cluster to join; None where the server starts one of its own."""
    if address := os.environ.get("RAY_ADDRESS"):
        return None if address == "local" else RayAddress(address, "RAY_ADDRESS")
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    # `ray start` writes it, and only `ray stop` removes it.
    file = Path(folder) / "ray" / "ray_current_cluster"
    with suppress(OSError):
        if address := file.read_text(encoding="utf-8").strip():
            return RayAddress(address, str(file))
    return None


def require_answer(at: RayAddress) -> None:
    """Raise ConfigError when nothing answers there. Ray itself looks at addresses of other kinds, such as `ray://`."""
    host, _, port = at.address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_TIMEOUT_S).close()
    except (OSError, OverflowError):
        raise ConfigError(
            f"no Ray cluster answers at {at.address}, which {at.told_by} names; set RAY_ADDRESS=local to start one here"
        ) from None
