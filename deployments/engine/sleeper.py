"""The replica's side of the awake lease: its engine sleeps and wakes, and requests wait until it is awake.

The life of an engine in a sleep group, over and over: wait for the lease, wake, let requests in, be told to yield, let
running requests end, sleep, return the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from starlette.types import Receive

from catalog.errors import ModelLoading
from deployments.engine.base import Engine
from deployments.engine.leases import News, Order
from deployments.engine.read_ahead import ReadAhead

Exchange = Callable[[News], Awaitable[Order]]

FIRST_GUESS_WAKE_S = 1.0


class Sleeper:
    """Gives requests their turns with an engine that sleeps between them.

    `exchange` tells the owner of the GPUs this engine's news and returns its order. A request waits at most
    `max_wait_s` seconds for the engine to be awake.
    """

    def __init__(self, engine: Engine, exchange: Exchange, max_wait_s: float) -> None:
        self._engine = engine
        self._exchange = exchange
        self._max_wait_s = max_wait_s
        self._order = Order()
        self._has_order = asyncio.Event()
        self._has_news = asyncio.Event()
        self._open = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._num_running = 0
        self._num_waiting = 0
        self._number = 0
        self._lease = 0
        self._returned = 0
        self._is_awake = False
        self._wake_s = FIRST_GUESS_WAKE_S
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_asleep(self) -> bool:
        return not self._is_awake

    @property
    def num_waiting(self) -> int:
        """Requests that wait until the engine is awake."""
        return self._num_waiting

    # Requests

    @contextlib.asynccontextmanager
    async def turn(self, receive: Receive) -> AsyncIterator[Receive]:
        """Hold the engine awake for one request; waits until it is. Gives what the request's app is to receive from.

        Raises ModelLoading when that takes longer than `max_wait_s`, and ClientLeft when the client leaves meanwhile.
        """
        while not self._open.is_set():
            ahead = receive if isinstance(receive, ReadAhead) else ReadAhead(receive)
            receive = ahead
            with self._waiting():
                await ahead.unless_left(self._until_open())
        with self._running():
            yield receive

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Hold the engine awake for work that no client waits for."""
        while not self._open.is_set():
            with self._waiting():
                await self._until_open()
        with self._running():
            yield

    async def _until_open(self) -> None:
        try:
            await asyncio.wait_for(self._open.wait(), self._max_wait_s)
        except TimeoutError:
            raise ModelLoading(
                f"The model sleeps, and did not get its GPU within {self._max_wait_s:g} s; try again later.",
                retry_after_s=self._max_wait_s / 4,
            ) from None

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self._num_waiting += 1
        self._has_news.set()
        try:
            yield
        finally:
            self._num_waiting -= 1
            self._has_news.set()

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self._num_running += 1
        self._empty.clear()
        if self._num_running == 1:
            self._has_news.set()
        try:
            yield
        finally:
            self._num_running -= 1
            if self._num_running == 0:
                self._empty.set()
                self._has_news.set()

    # The engine's life

    async def begin(self, start: Callable[[], Awaitable[None]]) -> None:
        """Start the engine in its first turn; it sleeps and wakes as the owner says from then on. Raises as `ended`."""
        self._tasks = [asyncio.create_task(self._keep_in_touch()), asyncio.create_task(self._live(start))]
        opened = asyncio.create_task(self._open.wait())
        await asyncio.wait({*self._tasks, opened}, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            opened.cancel()
            await self.ended()

    async def ended(self) -> None:
        """Return never: raises what the engine's start, its sleep or wake, or the loss of the owner raises.

        The engine's state is unknown then, and only the end of this process returns the lease.
        """
        done, left = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        for task in done:
            task.result()

    async def _live(self, start: Callable[[], Awaitable[None]]) -> None:
        with self._waiting():
            await self._until_granted()
            await start()
        while True:
            self._is_awake = True
            self._open.set()
            self._has_news.set()
            await self._until_told(lambda: self._order.must_yield)
            self._open.clear()
            self._has_news.set()
            await self._empty.wait()
            await self._engine.sleep()
            self._is_awake = False
            self._returned, self._lease = self._lease, 0
            self._has_news.set()
            await self._until_granted()
            await self._wake()

    async def _until_granted(self) -> None:
        await self._until_told(lambda: self._order.lease > self._returned)
        self._lease = self._order.lease
        self._has_news.set()

    async def _until_told(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._has_order.clear()
            await self._has_order.wait()

    async def _wake(self) -> None:
        begun_s = time.monotonic()
        await self._engine.wake()
        self._wake_s = time.monotonic() - begun_s

    # The owner

    async def _keep_in_touch(self) -> None:
        while True:
            self._has_news.clear()
            exchange = asyncio.ensure_future(self._exchange(self._news()))
            news = asyncio.ensure_future(self._has_news.wait())
            await asyncio.wait({exchange, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if not exchange.done():
                # The owner answers the next one instead.
                exchange.cancel()
                continue
            self._order = exchange.result()
            self._has_order.set()

    def _news(self) -> News:
        self._number += 1
        return News(
            self._number,
            num_waiting=self._num_waiting,
            is_busy=self._num_running > 0,
            lease=self._lease,
            is_yielding=self._lease > 0 and not self._open.is_set() and self._is_awake,
            is_awake=self._is_awake and self._open.is_set(),
            returned=self._returned,
            wake_s=self._wake_s,
            pids=(os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid)),
        )
