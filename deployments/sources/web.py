"""Downloads a file by HTTP, from the server that the operator has named and no other.

Redirections are followed on the same host only, and never from https to http: whoever may register models could use
an open redirection of an allowed server to have others asked. The network's own addresses are fine, since operators
name their servers; link-local ones, where clouds answer machines, are not, whatever a name is resolved to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from catalog.addresses import Reach, reach
from catalog.sources import SourceRefused, SourceUnavailable
from deployments.sources.cache import Expect, require_small

MAX_REDIRECTIONS = 5
CHUNK_BYTES = 1024 * 1024
# A download takes as long as it takes, but may not fall silent.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)


def download(url: str, path: Path, expect: Expect, most_bytes: int) -> None:
    """Write the file to `path`; `expect` is told its length where the server says it.

    Blocks, in an event loop of its own. Raises SourceRefused or SourceUnavailable, or OSError of the disk.
    """
    chunks = _Chunks(path, expect, most_bytes)
    try:
        asyncio.run(_download(URL(url, encoded=True), chunks))
    finally:
        chunks.file.close()


class _Chunks:
    """What has come, on the disk."""

    def __init__(self, path: Path, expect: Expect, most_bytes: int) -> None:
        self.file = path.open("wb")
        self.expect = expect
        self._most_bytes = most_bytes

    def write(self, chunk: bytes) -> None:
        require_small(self.file.tell() + len(chunk), self._most_bytes)
        try:
            self.file.write(chunk)
        except OSError as error:
            raise _DiskError(error) from None


class _DiskError(Exception):
    """An OSError that is not the network's."""


async def _download(url: URL, chunks: _Chunks) -> None:
    connector = aiohttp.TCPConnector(socket_factory=_socket, force_close=True)
    try:
        async with aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            for _ in range(MAX_REDIRECTIONS + 1):
                # As it is, and not compressed once more on the way.
                headers = {"accept-encoding": "identity", "user-agent": "raymux"}
                async with session.get(url, allow_redirects=False, headers=headers) as response:
                    if response.status in (301, 302, 303, 307, 308):
                        url = _redirected(url, response.headers.get("location", ""))
                        continue
                    _require_ok(response.status)
                    if response.content_length is not None:
                        chunks.expect(response.content_length)
                    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                        chunks.write(chunk)
                    return
        raise SourceRefused("its server redirects too often")
    except _DiskError as error:
        raise error.args[0] from None
    except (TimeoutError, aiohttp.ClientError, OSError, UnicodeError) as error:
        _fail(error)


def _redirected(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError:
        raise SourceRefused("its server redirects to what is no URL") from None
    is_same = (target.scheme, target.port) == (url.scheme, url.port)
    is_safer = (url.scheme, target.scheme) == ("http", "https") and target.is_default_port() and url.is_default_port()
    if target.host != url.host or not (is_same or is_safer) or target.user or target.password:
        raise SourceRefused("its server redirects to another one; name that one as the source")
    return target


def _require_ok(status: int) -> None:
    if status >= 500 or status in (408, 425, 429):
        raise SourceUnavailable(f"its server answered {status}")
    if status != 200:
        raise SourceRefused(f"its server answered {status}")


def _socket(info: Sequence[Any]) -> socket.socket:
    family, type_, protocol, _, address = info
    if reach(str(address[0])) is Reach.NOWHERE:
        raise _NotAllowed("nothing is fetched from that address")
    return socket.socket(family, type_, protocol)


class _NotAllowed(OSError):
    """The server is at an address that nothing is fetched from."""


def _fail(error: Exception) -> NoReturn:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _NotAllowed):
        raise SourceRefused("nothing is fetched from the address of its server") from None
    raise SourceUnavailable(f"its server cannot be reached, or broke off ({type(error).__name__})") from None
