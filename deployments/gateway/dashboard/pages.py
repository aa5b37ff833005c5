"""`GET /dashboard` and the files of its page, which are read once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from catalog.errors import PathNotFound
from catalog.keys import Access
from deployments.gateway.exchange import Reply
from deployments.gateway.guard import GuardedRoute

FOLDER = Path(__file__).parent / "static"
PAGE = "index.html"

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# Nothing but the page's own files, and nobody may put it into a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class File(NamedTuple):
    """A file of the page, with the `ETag` of its content."""

    content: bytes
    type: bytes
    etag: str


class Pages:
    """ASGI app over the files of a folder, by their bare names: no path of a request is looked for on the disk.

    They are public, for a browser sends no key with them. What they show is asked for with one.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {path.name: _read(path) for path in folder.iterdir() if path.suffix in _TYPES}

    def routes(self) -> list[GuardedRoute]:
        return [
            GuardedRoute(path, self, methods=["GET"], access=Access.PUBLIC)
            for path in ("/dashboard", "/dashboard/{name}")
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = self._files.get(scope["path_params"].get("name", PAGE))
        if file is None:
            raise PathNotFound("The dashboard has no such file. Its page is at /dashboard.")
        reply: Reply = scope["reply"]
        is_known = file.etag in _tags(scope)
        content = b"" if is_known else file.content
        await reply.begin(
            304 if is_known else 200,
            file.type,
            None if is_known else len(content),
            etag=file.etag,
            # To be asked for each time, which costs a 304: a new version shows at once.
            cache_control="no-cache",
            content_security_policy=_POLICY,
            referrer_policy="no-referrer",
            x_content_type_options="nosniff",
        )
        await reply.end(content)


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _tags(scope: Scope) -> list[str]:
    """Those of the versions that the client has."""
    given = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"").decode("latin-1")
    return [tag.strip().removeprefix("W/") for tag in given.split(",")]
