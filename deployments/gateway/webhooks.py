"""`POST /webhooks/ingest`: events of other services, told by their signature, and taken when they are on the disk.

What became of them, and of the events that receivers are told, is listed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request

from catalog.errors import InvalidRequest, InvalidSignature, PermissionDenied
from catalog.keys import Access
from deployments.gateway.fleet import Fleet
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.inference import read_json_body
from deployments.gateway.json_handler import JsonHandler
from deployments.manager.entries import Entry
from deployments.signing import signer
from router.body import parse_object
from router.webhooks import MAX_ID_CHARS, read_event

MAX_BODY_BYTES = 256 * 1024
_SHA256 = "sha256="


class Webhooks:
    """Handlers of the webhook endpoints. `secrets` are those that senders sign with; without any there are no hooks."""

    def __init__(self, fleet: Fleet, secrets: Callable[[], Sequence[str]]) -> None:
        self._fleet = fleet
        self._secrets = secrets

    def routes(self, prefix: str) -> list[GuardedRoute]:
        """The routes under a prefix such as `/v1`."""
        return [
            GuardedRoute(f"{prefix}/webhooks/ingest", JsonHandler(self.ingest), methods=["POST"], access=Access.SIGNED),
            GuardedRoute(f"{prefix}/webhooks", JsonHandler(self.list), methods=["GET"]),
            GuardedRoute(f"{prefix}/webhooks/sent", JsonHandler(self.list_sent), methods=["GET"]),
        ]

    async def ingest(self, request: Request) -> tuple[int, dict[str, Any]]:
        secrets = self._secrets()
        if not secrets:
            raise PermissionDenied("This service takes no webhooks: its operator must set RAYMUX_WEBHOOK_SECRETS.")
        body = await read_json_body(dict(request.scope["headers"]), request.receive, MAX_BODY_BYTES)
        id = verified(request.headers, body, secrets)
        event = read_event(parse_object(body))
        is_new = await self._fleet.ask(self._fleet.manager.ingest.remote(id, event))
        return 202, {"id": id, "status": "accepted" if is_new else "duplicate"}

    async def list(self, request: Request) -> tuple[int, dict[str, Any]]:
        entries = await self._fleet.ask(self._fleet.manager.events.remote())
        return _listed({**_shown(each), "received": int(each.received_s)} for each in entries)

    async def list_sent(self, request: Request) -> tuple[int, dict[str, Any]]:
        entries = await self._fleet.ask(self._fleet.manager.events.remote(are_sent=True))
        return _listed({**_shown(each), "receiver": each.receiver, "created": int(each.received_s)} for each in entries)


def _listed(data: Iterable[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    return 200, {"object": "list", "data": list(data)}


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "type": entry.type,
        "outcome": str(entry.outcome),
        "attempts": entry.num_attempts,
        "error": entry.error or None,
    }


def verified(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> str:
    """The id of an event that was signed with one of the secrets. Raises InvalidSignature or InvalidRequest.

    By Standard Webhooks (`webhook-id`, `webhook-timestamp` within five minutes, `webhook-signature`), or by
    `X-Signature: sha256=<hex of the body's HMAC>`, whose events have no id and are known by their body.
    """
    if "webhook-signature" in headers:
        id = headers.get("webhook-id", "")
        if len(id) > MAX_ID_CHARS:
            raise InvalidRequest(f"webhook-id must have at most {MAX_ID_CHARS} characters.")
        if any(_is_standard(secret, headers, body) for secret in secrets):
            return id
    elif "x-signature" in headers:
        given = headers["x-signature"].removeprefix(_SHA256).encode()
        if any(hmac.compare_digest(_hex_hmac(secret, body), given) for secret in secrets):
            return f"sha256-{hashlib.sha256(body).hexdigest()}"
    raise InvalidSignature("The signature is missing or wrong, or its timestamp is more than five minutes off.")


def _is_standard(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        signer(secret).verify(body, dict(headers), json_parse=False)
    except Exception:
        # The library lets a malformed header out as whatever it met.
        return False
    return True


def _hex_hmac(secret: str, body: bytes) -> bytes:
    return hmac.new(signer(secret)._whsecret, body, hashlib.sha256).hexdigest().encode()
