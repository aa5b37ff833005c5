"""Sends a webhook, once: by HTTP, to an address that its receiver may have, and believing nothing of the answer.

A name may lead to another address at every look-up, so it is not the name that is judged, nor a look-up of ours, but
each address as the socket for it is made, which then connects there and nowhere else. TLS and the Host header go by the
name as ever.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from catalog.webhooks import ReceiverSettings
from deployments.environment import receiver_secrets
from deployments.manager.outbox import NotDelivered, OutboxEntry
from deployments.signing import signed_headers

MAX_LOOKUPS = 64
# It was read and is not wanted; every other answer may be another one next time.
_FINAL = frozenset({400, 410, 413, 422})


class _NotAllowed(OSError):
    """The receiver may not be at this address."""


class _Resolver(AbstractResolver):
    """Looks names up in threads of its own: a look-up may hang, and asyncio's few threads have other work."""

    def __init__(self, lookups: ThreadPoolExecutor) -> None:
        self._lookups = lookups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = functools.partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._lookups, look_up)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=flags)
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Its threads are not its own."""


class Sender:
    """`secrets_of` gives what events for a receiver are signed with, or raises ValueError."""

    def __init__(
        self,
        secrets_of: Callable[[ReceiverSettings], Sequence[str]] = receiver_secrets,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets_of = secrets_of
        self._clock = clock
        self._lookups = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="webhook-lookup")

    async def __call__(self, receiver: ReceiverSettings, entry: OutboxEntry) -> None:
        """Returns when the receiver has taken the event. Raises NotDelivered."""
        status = await self._post(receiver, entry.body, self._headers(receiver, entry))
        if not 200 <= status < 300:
            raise NotDelivered(f"status_{status}", is_final=status in _FINAL)

    def _headers(self, receiver: ReceiverSettings, entry: OutboxEntry) -> dict[str, str]:
        try:
            secrets = self._secrets_of(receiver)
        except ValueError:
            raise NotDelivered("secret_missing") from None
        signed = signed_headers(entry.id, entry.body, secrets, self._clock())
        return {"content-type": "application/json", "user-agent": "raymux", **signed}

    async def _post(self, receiver: ReceiverSettings, body: str, headers: dict[str, str]) -> int:
        """The status of the answer, of which nothing else is read, and whose redirections are not followed."""
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._lookups),
            use_dns_cache=False,
            force_close=True,
            socket_factory=functools.partial(_socket, receiver),
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=receiver.timeout_s),
                    auto_decompress=False,
                ) as session,
                session.post(
                    URL(receiver.url, encoded=True), data=body.encode(), headers=headers, allow_redirects=False
                ) as response,
            ):
                return response.status
        except TimeoutError:
            raise NotDelivered("timeout") from None
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise NotDelivered(_code(error)) from None


def _socket(receiver: ReceiverSettings, info: Sequence[Any]) -> socket.socket:
    """A socket that may connect to the address of `info`, which is as getaddrinfo has it."""
    family, type_, protocol, _, address = info
    if not receiver.may_be_at(str(address[0])):
        raise _NotAllowed("the receiver may not be at its address")
    return socket.socket(family, type_, protocol)


def _code(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError | UnicodeError):
        return "name_not_found"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls_failed"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _NotAllowed):
        return "address_not_allowed"
    return "connection_failed"
