"""Who may call which route. A route says what access it needs; one that says nothing needs an admin key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog.errors import PermissionDenied
from catalog.keys import Access
from catalog.settings import LOOPBACK_HOSTS
from deployments.gateway.services import Services


class GuardedRoute(Route):
    """A route that its caller must have access to; puts the caller into the exchange.

    Calls count against the caller's limits. A route of `inference`, which is the name of its endpoint in metrics and
    logs, counts them itself, because it knows of tokens.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: list[str],
        access: Access = Access.ADMIN,
        inference: str | None = None,
    ) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.access = access
        self.inference = inference

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        guard: Guard = scope["guard"]
        scope["exchange"].endpoint = self.inference
        guard.admit(scope, self.access)
        if self.access in _OPEN or self.inference is not None:
            await super().handle(scope, receive, send)
            return
        async with guard.limits.taken(scope["exchange"], self.path.removeprefix("/v1"), tokens=0):
            await super().handle(scope, receive, send)


_OPEN = (Access.PUBLIC, Access.SIGNED)


class Guard:
    """ASGI app around the routes: knows the keys that are in force."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self.limits = services.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["guard"] = self
        await self._app(scope, receive, send)

    def admit(self, scope: Scope, access: Access) -> None:
        """Find out who calls. Raises InvalidApiKey or PermissionDenied."""
        if access in _OPEN:
            return
        headers = dict(scope["headers"])
        keyring = self._services.keyring()
        caller = keyring.caller(headers.get(b"authorization"), headers.get(b"x-api-key"))
        if not keyring:
            refuse_other_sites(headers, any_name=self._services.settings().allow_unauthenticated)
        scope["exchange"].caller = caller
        if access is Access.ADMIN and not caller.is_admin:
            raise PermissionDenied("This endpoint needs an admin key.")


def refuse_other_sites(headers: Mapping[bytes, bytes], *, any_name: bool) -> None:
    """Without keys, keep out what a browser sends for a page of another site. Raises PermissionDenied.

    A browser says where a page came from (`Origin`, `Sec-Fetch-Site`). A page whose name was made to lead to this
    machine (DNS rebinding) is of the same site, but betrays itself by the name, unless `any_name` is fine.
    """
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if origin is None and site is None:
        return
    host = headers.get(b"host", b"").decode("latin-1")
    is_other = site == b"cross-site" or (origin is not None and _netloc(origin.decode("latin-1")) != host)
    if is_other or not (any_name or _hostname(host) in LOOPBACK_HOSTS):
        raise PermissionDenied("A page of another site may not use this service without an API key.")


def _netloc(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _hostname(netloc: str) -> str | None:
    try:
        return urlsplit(f"//{netloc}").hostname
    except ValueError:
        return None
