"""One piece of work that several equal requests wait for: each gets the reply's bytes as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from deployments.gateway.exchange import EVENT_STREAM, Exchange, Reply
from deployments.gateway.replies.kept import KeptReply


class Recording(Reply):
    """A reply that goes nowhere: followers send what it has recorded. `exchange` is whose work it is."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.status, self.content_type = 0, b""
        self.has_ended = False
        self.pieces: list[bytes] = []
        self.comments: list[str] = []
        self.changed = asyncio.Condition()

    @property
    def has_begun(self) -> bool:
        return bool(self.content_type or self.comments)

    async def begin(self, status: int, content_type: bytes, length: int | None = None, **extra: str) -> None:
        self.status, self.content_type = status, content_type
        await self._tell()

    async def write(self, chunk: bytes) -> None:
        self.exchange.note_first_byte()
        self.pieces.append(chunk)
        await self._tell()

    async def end(self, last: bytes = b"") -> None:
        if last:
            self.pieces.append(last)
        self.has_ended = True
        await self._tell()

    async def comment(self, text: str) -> None:
        self.comments.append(text)
        await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def kept(self) -> KeptReply | None:
        """The whole reply, once it has ended."""
        if not self.has_ended:
            return None
        return KeptReply(self.status, self.content_type.decode("latin-1"), b"".join(self.pieces))


class Flight:
    """The work runs as a task of its own, so that it outlives the client whose request began it."""

    def __init__(self, recording: Recording, work: Callable[[], Awaitable[None]]) -> None:
        self.recording = recording
        self._num_followers = 0
        self.task = asyncio.create_task(self._run(work))

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            await self.recording._tell()

    async def follow(self, exchange: Exchange, reply: Reply) -> None:
        """Send what is recorded, from its beginning to its end. Raises what the work raises.

        When nobody follows any more, the work is cancelled.
        """
        self._num_followers += 1
        try:
            await self._follow(exchange, reply)
        finally:
            self._num_followers -= 1
            if not self._num_followers and not self.task.done():
                self.task.cancel()

    async def _follow(self, exchange: Exchange, reply: Reply) -> None:
        recording, sent, told = self.recording, 0, 0
        while True:
            while told < len(recording.comments):
                told += 1
                await reply.comment(recording.comments[told - 1])
            is_stream = recording.content_type.startswith(EVENT_STREAM[:17])
            if is_stream and len(recording.pieces) > sent:
                if not sent:
                    exchange.take_place_of(recording.exchange)
                    await reply.begin(recording.status, recording.content_type)
                pieces, sent = recording.pieces[sent:], len(recording.pieces)
                await reply.write(b"".join(pieces))
                continue
            if recording.has_ended:
                kept = recording.kept()
                if is_stream or kept is None:
                    await reply.end()
                else:
                    exchange.take_place_of(recording.exchange)
                    await kept.send(reply)
                return
            if self.task.done():
                await self.task
                raise RuntimeError("the work has ended without a reply")
            async with recording.changed:
                if not self._has_news(sent, told):
                    await recording.changed.wait()

    def _has_news(self, sent: int, told: int) -> bool:
        recording = self.recording
        has_more = len(recording.pieces) > sent and bool(recording.content_type)
        return (
            self.task.done()
            or recording.has_ended
            or len(recording.comments) > told
            or (has_more and recording.content_type.startswith(EVENT_STREAM[:17]))
        )
