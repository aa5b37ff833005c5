"""A replica's HTTP server that answers with exactly the bytes a test writes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from catalog.replicas import ReplicaReport
from tests.unit.builders import report, settle

# Writes a reply; the connection stays open afterwards where it returns True.
Script = Callable[[asyncio.StreamWriter], Awaitable[bool]]


def head(status: str = "200 OK", content_type: str = "text/event-stream", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def stream_head() -> bytes:
    return head(transfer_encoding="chunked")


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def whole(body: bytes, status: str = "200 OK", **headers: str) -> Script:
    async def script(writer: asyncio.StreamWriter) -> bool:
        writer.write(head(status, "application/json", content_length=str(len(body)), **headers) + body)
        return True

    return script


def pieces(*written: bytes) -> Script:
    """Write these, each in a packet of its own, and close."""

    async def script(writer: asyncio.StreamWriter) -> bool:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in written:
            writer.write(piece)
            await writer.drain()
            await settle()
        return False

    return script


class Replica:
    """An HTTP server on loopback that answers with exactly the bytes its script writes."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.num_connections = 0
        self.client_has_left = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Replica:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def report(self) -> ReplicaReport:
        host, port = self._server.sockets[0].getsockname()
        return report(address=f"{host}:{port}", secret="s3cret")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.num_connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionResetError):
            self.client_has_left.set()
            return False
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(({"": request, **headers}, body))
        return await self.script(writer)
