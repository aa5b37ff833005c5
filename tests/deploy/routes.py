"""Whether a path is one that raymux answers, by its own list of endpoints."""

from __future__ import annotations

import re

from deployments.gateway.operations import OPERATIONS
from router.endpoints import ENDPOINTS


def is_route(method: str, path: str) -> bool:
    """`path` may have names of models in it, as requests do."""
    listed = [*OPERATIONS, "GET /", *(f"POST {endpoint.path}" for endpoint in ENDPOINTS)]
    for route in listed:
        verb, pattern = route.split(" ", 1)
        expression = re.sub(r"\\\{\w+\\\}", ".+", re.escape(pattern))
        if verb == method and re.fullmatch(expression, path):
            return True
    return False
