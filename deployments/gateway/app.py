"""The gateway's ASGI app: every route, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from catalog.settings import GatewaySettings
from deployments.gateway.envelope import Envelope
from deployments.gateway.fleet import Fleet
from deployments.gateway.gpus import Gpus
from deployments.gateway.inference import Inference
from deployments.gateway.models import Models
from deployments.gateway.operations import Operations
from deployments.gateway.relay import Relay
from deployments.gateway.warmups import Warmups
from router.endpoints import ENDPOINTS


def build_gateway_app(
    fleet: Fleet, relay: Relay, settings: Callable[[], GatewaySettings], *, under_serve: bool = False
) -> ASGIApp:
    """The app; every path works with and without its `/v1`."""
    routes = [*Operations(fleet).routes()]
    for resource in (Models(fleet), Warmups(fleet), Gpus(fleet)):
        routes += [*resource.routes("/v1"), *resource.routes("")]
    for endpoint in ENDPOINTS:
        app = Inference(endpoint, fleet, relay, settings)
        routes += [Route(path, app, methods=["POST"]) for path in (endpoint.path, endpoint.path.removeprefix("/v1"))]
    starlette = Starlette(routes=routes)
    # Starlette's own handling of errors is left out: the envelope renders every one of them.
    starlette.router.redirect_slashes = False
    return Envelope(starlette.router, adds_request_id=not under_serve)
