"""A whole reply as a value: what is stored of it, and how it is sent again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from deployments.gateway.exchange import Reply, ReplyAround

_MAGIC = b"raymux-reply-1 "
# Replayed in pieces, so that a large one does not block others.
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeptReply:
    """`note` is whatever its keeper wants to know of it again."""

    status: int
    content_type: str
    body: bytes
    note: str = ""

    @property
    def is_stream(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    def encode(self) -> bytes:
        """A line with a checksum, one with the head, and the body."""
        head = json.dumps([self.status, self.content_type, self.note, len(self.body)]).encode()
        content = head + b"\n" + self.body
        return _MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content

    @classmethod
    def decode(cls, value: bytes) -> KeptReply | None:
        """What `encode` made; None for anything else, such as a part of it."""
        first, _, content = value.partition(b"\n")
        if first != _MAGIC + hashlib.sha256(content).hexdigest().encode():
            return None
        head, _, body = content.partition(b"\n")
        try:
            status, content_type, note, _ = json.loads(head)
        except ValueError:
            return None
        return cls(status, content_type, body, note)

    async def send(self, reply: Reply, **headers: Any) -> None:
        """Answer with it."""
        if not self.is_stream:
            await reply.begin(self.status, self.content_type.encode(), len(self.body), **headers)
            await reply.end(self.body)
            return
        await reply.begin(self.status, self.content_type.encode(), **headers)
        for at in range(0, len(self.body), _PIECE_BYTES):
            await reply.write(self.body[at : at + _PIECE_BYTES])
        await reply.end()


class TeeReply(ReplyAround):
    """Passes a reply on and keeps it, up to `max_bytes`."""

    def __init__(self, inner: Reply, max_bytes: int) -> None:
        super().__init__(inner)
        self._max_bytes = max_bytes
        self._has_ended = False
        self._pieces: list[bytes] | None = []
        self._num_bytes = 0
        self._head = (0, "")

    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        self._head = (status, content_type.decode("latin-1"))
        await self._inner.begin(status, content_type, length, **extra)

    async def write(self, chunk: bytes) -> None:
        self._keep(chunk)
        await self._inner.write(chunk)

    async def end(self, last: bytes = b"") -> None:
        self._keep(last)
        await self._inner.end(last)
        self._has_ended = True

    def _keep(self, chunk: bytes) -> None:
        self._num_bytes += len(chunk)
        if self._num_bytes > self._max_bytes:
            self._pieces = None
        if self._pieces is not None:
            self._pieces.append(chunk)

    def kept(self, note: str = "") -> KeptReply | None:
        """The whole reply; None when it was too large or has not ended."""
        if self._pieces is None or not self._has_ended:
            return None
        return KeptReply(*self._head, b"".join(self._pieces), note)
