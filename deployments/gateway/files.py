"""Files of examples over HTTP: `/v1/files`, as OpenAI's clients use it, for the purpose `fine-tune`."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from catalog.errors import InvalidRequest, PayloadTooLarge, RaymuxError, StoreUnavailable, UnsupportedMediaType
from catalog.jobs import TrainingFile
from catalog.keys import Access
from deployments.background import Background
from deployments.fine_tuning.checking import check_file
from deployments.fine_tuning.storage import location_of, pieces, put
from deployments.gateway.exchange import ClientLeft
from deployments.gateway.fleet import Fleet
from deployments.gateway.guard import GuardedRoute
from deployments.gateway.json_handler import JsonHandler
from deployments.gateway.paging import page
from deployments.gateway.tuning_line import TuningLine

logger = logging.getLogger("ray.serve")

PURPOSE = "fine-tune"
# The form around the file: boundaries, headers, other fields.
MAX_FORM_BYTES = 64 * 1024
MAX_FILENAME_CHARS = 256
MAX_LISTED = 10_000
CHECKS_AT_ONCE = 2


class Files:
    """Handlers of the file endpoints. A caller sees the files of its own tenant."""

    def __init__(self, fleet: Fleet) -> None:
        self._line = TuningLine(fleet)
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._background = Background()

    def routes(self, prefix: str) -> list[GuardedRoute]:
        """The routes under a prefix such as `/v1`."""
        key, path = Access.KEY, f"{prefix}/files"
        return [
            GuardedRoute(path, JsonHandler(self.list), methods=["GET"], access=key),
            GuardedRoute(path, JsonHandler(self.upload), methods=["POST"], access=key),
            GuardedRoute(f"{path}/{{id}}", JsonHandler(self.get), methods=["GET"], access=key),
            GuardedRoute(f"{path}/{{id}}", JsonHandler(self.delete), methods=["DELETE"], access=key),
            GuardedRoute(f"{path}/{{id}}/content", Content(self._line), methods=["GET"], access=key),
        ]

    async def upload(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Take a file: first into a temporary one without a name, so nothing that is broken (off) is stored."""
        settings = self._line.require_settings()
        async with _form(request, settings.max_file_bytes) as (upload, filename):
            num_bytes = upload.size or 0
            if num_bytes > settings.max_file_bytes:
                raise _too_large(settings.max_file_bytes)
            async with self._checks:
                examples = await check_file(upload.file, num_bytes, settings.max_examples)
            id = f"file-{uuid.uuid4().hex}"
            file = TrainingFile(
                id=id,
                tenant=request.scope["exchange"].caller.tenant,
                filename=filename,
                num_bytes=num_bytes,
                num_examples=examples.num_examples,
                form=examples.form,
                location=location_of(settings.files, f"{id}.jsonl"),
                created_s=time.time(),
            )
            return 200, shown(await self._keep(file, upload))

    async def _keep(self, file: TrainingFile, upload: UploadFile) -> TrainingFile:
        """Store the bytes; the manager knows of them before and keeps them afterwards, or has them deleted."""
        upload.file.seek(0)
        await self._line.ask("expect_file", file)
        # Shielded: a thread goes on after its caller was cancelled.
        storing = asyncio.ensure_future(asyncio.to_thread(put, file.location, upload.file))
        try:
            await asyncio.shield(storing)
            return await self._line.ask("keep_file", file.tenant, file.id)
        except BaseException as error:
            self._background.start(self._discard(storing, file))
            if not isinstance(error, OSError):
                raise
            logger.error("a file of examples could not be stored: %s", type(error).__name__)
            raise StoreUnavailable("The file could not be stored; try again.", retry_after_s=10) from None

    async def _discard(self, storing: asyncio.Future[None], file: TrainingFile) -> None:
        # A ValueError: the temporary file was closed meanwhile. A RaymuxError: the manager sees to it by itself.
        with suppress(OSError, ValueError):
            await storing
        with suppress(RaymuxError):
            await self._line.ask("delete_file", file.tenant, file.id)

    async def list(self, request: Request) -> tuple[int, dict[str, Any]]:
        query = request.query_params
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequest("order must be asc or desc.", param="order")
        files: list[TrainingFile] = await self._line.ask("files", _tenant(request))
        if query.get("purpose", PURPOSE) != PURPOSE:
            files = []
        files.sort(key=lambda file: (file.created_s, file.id), reverse=order == "desc")
        return 200, page([shown(file) for file in files], query, max_limit=MAX_LISTED, limit=MAX_LISTED)

    async def get(self, request: Request) -> tuple[int, dict[str, Any]]:
        return 200, shown(await self._line.ask("file", _tenant(request), request.path_params["id"]))

    async def delete(self, request: Request) -> tuple[int, dict[str, Any]]:
        id = request.path_params["id"]
        await self._line.ask("delete_file", _tenant(request), id)
        return 200, {"id": id, "object": "file", "deleted": True}


class Content:
    """ASGI app that answers with a file's bytes."""

    def __init__(self, line: TuningLine) -> None:
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tenant, reply = scope["exchange"].caller.tenant, scope["reply"]
        file: TrainingFile = await self._line.ask("file", tenant, scope["path_params"]["id"])
        found = pieces(file.location)
        try:
            first = await asyncio.to_thread(next, found, b"")
        except OSError as error:
            logger.error("a file of examples could not be read: %s", type(error).__name__)
            raise StoreUnavailable("The file cannot be read just now; try again.", retry_after_s=10) from None
        await reply.begin(200, b"application/octet-stream", file.num_bytes)
        piece = first
        while piece:
            await reply.write(piece)
            piece = await asyncio.to_thread(next, found, b"")
        await reply.end()


@asynccontextmanager
async def _form(request: Request, max_bytes: int) -> AsyncIterator[tuple[UploadFile, str]]:
    """The file of a form, and its name. Raises InvalidRequest, or PayloadTooLarge before it has read too much."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMediaType("Send the file as multipart/form-data, with the fields `file` and `purpose`.")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and (len(length) > 18 or int(length) > max_bytes + MAX_FORM_BYTES):
        raise _too_large(max_bytes)
    bounded = Request(request.scope, _bounded(request.receive, max_bytes))
    try:
        form = await bounded.form(max_files=1, max_fields=10, max_part_size=MAX_FORM_BYTES)
    except HTTPException as error:
        raise InvalidRequest(f"The form cannot be read: {str(error.detail).rstrip('.')}.") from None
    try:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise InvalidRequest("The form must hold the file as `file`.", param="file")
        if form.get("purpose") != PURPOSE:
            raise InvalidRequest(f"purpose must be {PURPOSE}: no other files are kept here.", param="purpose")
        yield upload, _filename(upload.filename)
    finally:
        await form.close()


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    num_bytes = 0

    async def next_message() -> Message:
        nonlocal num_bytes
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        num_bytes += len(message.get("body", b""))
        if num_bytes > max_bytes + MAX_FORM_BYTES:
            raise _too_large(max_bytes)
        return message

    return next_message


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"A file may have at most {max_bytes} bytes.", param="file")


def _filename(given: str | None) -> str:
    """What the file is called in lists; it never becomes a path."""
    name = "".join(char for char in (given or "").replace("\\", "/").rpartition("/")[2] if char.isprintable())
    return name[:MAX_FILENAME_CHARS] or "examples.jsonl"


def _tenant(request: Request) -> str:
    return request.scope["exchange"].caller.tenant


def shown(file: TrainingFile) -> dict[str, Any]:
    """OpenAI's file object, with raymux's fields beside it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.num_bytes,
        "created_at": int(file.created_s),
        "expires_at": None,
        "filename": file.filename,
        "purpose": PURPOSE,
        "status": "processed",
        "status_details": None,
        "form": str(file.form),
        "num_examples": file.num_examples,
    }
