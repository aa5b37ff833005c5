"""The gateway's ASGI app: every route, and what stands in front of them."""

from __future__ import annotations

from starlette.routing import Router
from starlette.types import ASGIApp

from catalog.keys import Access
from deployments.gateway.dashboard.board import Board
from deployments.gateway.dashboard.events import Events
from deployments.gateway.dashboard.pages import Pages
from deployments.gateway.engine_metrics import EngineMetrics
from deployments.gateway.envelope import Envelope
from deployments.gateway.files import Files
from deployments.gateway.fine_tuning import FineTuningJobs
from deployments.gateway.fleet_metrics import FleetMetrics
from deployments.gateway.gpus import Gpus
from deployments.gateway.guard import Guard, GuardedRoute
from deployments.gateway.inference import Inference
from deployments.gateway.models import Models
from deployments.gateway.older import Older
from deployments.gateway.openapi import OpenApi
from deployments.gateway.operations import Operations
from deployments.gateway.services import Services
from deployments.gateway.warmups import Warmups
from deployments.gateway.webhooks import Webhooks
from router.endpoints import ENDPOINTS


def build_gateway_app(services: Services, *, under_serve: bool = False) -> ASGIApp:
    """The app; every path works with and without its `/v1`."""
    fleet = services.fleet
    endpoints = {endpoint.path: Inference(endpoint, services) for endpoint in ENDPOINTS}
    # A router tries one route after the other, so the busiest come first.
    routes = [_inference(path, path, app) for path, app in endpoints.items()]
    routes += Operations(services).routes()
    webhooks = Webhooks(fleet, services.webhook_secrets)
    models, gpus = Models(fleet, services.providers), Gpus(fleet)
    jobs = FineTuningJobs(fleet, services.departure)
    for resource in (models, Warmups(fleet), gpus, webhooks, Files(fleet), jobs):
        routes += [*resource.routes("/v1"), *resource.routes("")]
    routes += Older(endpoints, models).routes()
    routes += Events(Board(services, models, gpus), services.departure).routes()
    routes += Pages().routes()
    routes += [_inference(path.removeprefix("/v1"), path, app) for path, app in endpoints.items()]
    routes.append(GuardedRoute("/metrics", FleetMetrics(fleet, services.metrics), methods=["GET"]))
    routes.append(GuardedRoute("/metrics/engines", EngineMetrics(fleet, services.relay), methods=["GET"]))
    routes.append(GuardedRoute("/openapi.json", OpenApi(routes), methods=["GET"], access=Access.PUBLIC))
    # A bare router: the envelope renders every error, so Starlette's own handling of them is left out.
    router = Router(routes=routes, redirect_slashes=False)
    return Envelope(Guard(router, services), services.metrics, services.tracing, adds_request_id=not under_serve)


def _inference(path: str, endpoint: str, app: Inference) -> GuardedRoute:
    return GuardedRoute(path, app, methods=["POST"], access=Access.KEY, inference=endpoint)
