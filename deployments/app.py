"""What `serve run serve_config.yaml` imports: the raymux application, gateway and model manager."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from deployments.gateway.gateway import Gateway
from deployments.manager.manager import ModelManager


def build(args: dict[str, Any]) -> Application:
    """Build the application. The catalog is the manager's `user_config`, so that Serve can change it in place."""
    if args:
        raise ValueError(f"raymux takes no args, but got {sorted(args)}: models go to ModelManager's user_config")
    return Gateway.bind(ModelManager.bind())
