"""Around every request: an id, one error shape, and one log line that holds no prompt, completion, header or key."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from catalog.errors import InternalError, InvalidRequest, MethodNotAllowed, PathNotFound, RaymuxError
from deployments.environment import is_behind_haproxy
from deployments.gateway.exchange import ClientLeft, Exchange, HttpReply
from deployments.gateway.metrics import GatewayMetrics
from deployments.gateway.tracing import Tracing
from deployments.request_id import request_id

logger = logging.getLogger("ray.serve")

_IS_BEHIND_HAPROXY = is_behind_haproxy()


class Envelope:
    """ASGI middleware; puts `exchange` and `reply` into the scope.

    `adds_request_id` is off under Serve, which puts an id into every request without one and into every reply.
    """

    def __init__(
        self, app: ASGIApp, metrics: GatewayMetrics, tracing: Tracing | None = None, *, adds_request_id: bool = True
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing or Tracing()
        self._adds_request_id = adds_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(request_id(scope), scope["method"], scope["path"], address=client_address(scope))
        reply = HttpReply(send, exchange, adds_request_id=self._adds_request_id)
        scope["exchange"], scope["reply"] = exchange, reply
        # Starlette's router raises its 404 and 405 only where it believes an application stands around it.
        scope["app"] = self
        self._metrics.begun()
        self._tracing.begin(exchange, scope["headers"])
        try:
            await self._app(scope, receive, send)
        except RaymuxError as error:
            await reply.fail(error)
        except HTTPException as error:
            await reply.fail(from_starlette(error))
        except asyncio.CancelledError:
            exchange.outcome = "client_left"
            raise
        except ClientLeft:
            exchange.outcome = "client_left"
        except Exception as error:
            logger.error("request %s failed: %s", exchange.request_id, without_message(error))
            await reply.fail(InternalError("raymux failed to handle this request; try again."))
        finally:
            total_ms = (time.perf_counter() - exchange.begun_s) * 1000
            self._metrics.ended(exchange, total_ms)
            self._tracing.end(exchange)
            log(exchange, total_ms)


def without_message(error: BaseException) -> str:
    """An error's type and where it was raised, and those of what it came from.

    What a library says in an error's message may be what it could not handle: a piece of a prompt, or a header.
    """
    told = f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
    cause = error.__cause__ or error.__context__
    return told if cause is None else f"{told}from {without_message(cause)}"


def client_address(scope: Scope) -> str:
    """Where the client connects from. Behind the front door that is what HAProxy says in a header of its own."""
    if _IS_BEHIND_HAPROXY:
        return next((value for name, value in scope["headers"] if name == b"x-raymux-client"), b"").decode("latin-1")
    return (scope.get("client") or ("",))[0]


def from_starlette(error: HTTPException) -> RaymuxError:
    """Starlette's own refusals in raymux's shape."""
    if error.status_code == 404:
        return PathNotFound("No endpoint has this path. GET / lists them.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"This endpoint does not take this method{f'; it takes {allowed}' if allowed else ''}.")
    return InvalidRequest(f"The request cannot be handled (HTTP {error.status_code}).")


def log(exchange: Exchange, total_ms: float) -> None:
    """One line per request: a JSON object."""
    usage = exchange.usage
    fields = {
        "request_id": exchange.request_id,
        "method": exchange.method,
        "endpoint": exchange.endpoint,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "error_code": exchange.error_code,
        "tenant": exchange.caller.tenant,
        "key": exchange.caller.key_id,
        "model": exchange.model,
        "variant": exchange.variant,
        "choice": exchange.choice,
        "replica": exchange.replica,
        "attempts": exchange.num_attempts,
        "queued_s": round(exchange.queued_s, 3) if exchange.queued_s is not None else None,
        "cold_start_s": round(exchange.cold_start_s, 3) if exchange.cold_start_s is not None else None,
        "first_byte_ms": round(exchange.first_byte_ms, 1) if exchange.first_byte_ms is not None else None,
        "total_ms": round(total_ms, 1),
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
    }
    logger.info(json.dumps({name: value for name, value in fields.items() if value is not None}))
