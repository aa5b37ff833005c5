"""What a request is called, in replies and in the log."""

from __future__ import annotations

import re
import uuid

from starlette.types import Scope

HEADER = b"x-request-id"
_HARMLESS = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(scope: Scope) -> str:
    """The caller's X-Request-Id where it is harmless, else a new one."""
    given = next((value for name, value in scope["headers"] if name == HEADER), b"").decode("latin-1")
    return given if _HARMLESS.fullmatch(given) else f"req-{uuid.uuid4().hex}"
