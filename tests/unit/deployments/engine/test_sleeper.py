from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from catalog.errors import ModelLoading
from deployments.engine.leases import News, Order
from deployments.engine.read_ahead import ClientLeft
from deployments.engine.sleeper import Sleeper
from tests.unit.builders import Client, until


class Sleepy:
    """An engine that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def start(self) -> None:
        self.told.append("start")

    async def sleep(self) -> None:
        self.told.append("sleep")

    async def wake(self) -> None:
        self.told.append("wake")


class Owner:
    """Gives the orders that a test sets."""

    def __init__(self) -> None:
        self.order = Order()
        self.news = News(0)
        self.error: Exception | None = None
        self._has_order = asyncio.Event()

    def give(self, order: Order) -> None:
        self.order = order
        self._has_order.set()

    def fail(self) -> None:
        self.error = ConnectionError("the owner died")
        self._has_order.set()

    async def exchange(self, news: News) -> Order:
        self.news = news
        if self.order == Order(news.lease, news.is_yielding):
            self._has_order.clear()
            await self._has_order.wait()
        if self.error is not None:
            raise self.error
        return self.order


class Scene:
    def __init__(self, max_wait_s: float = 60) -> None:
        self.engine, self.owner = Sleepy(), Owner()
        self.sleeper = Sleeper(self.engine, self.owner.exchange, max_wait_s)  # type: ignore[arg-type]

    async def start(self) -> None:
        self.owner.give(Order(1))
        await self.sleeper.begin(self.engine.start)
        await until(lambda: self.owner.news.is_awake)

    async def fall_asleep(self) -> None:
        self.owner.give(Order(1, must_yield=True))
        await until(lambda: self.owner.news.returned == 1)
        self.owner.give(Order())


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    found = Scene()
    await found.start()
    yield found
    for task in found.sleeper._tasks:
        task.cancel()


async def test_the_engine_starts_only_with_the_lease() -> None:
    scene = Scene()
    begin = asyncio.create_task(scene.sleeper.begin(scene.engine.start))
    await until(lambda: scene.owner.news.num_waiting == 1)
    assert scene.engine.told == []
    scene.owner.give(Order(1))
    await begin
    assert scene.engine.told == ["start"]
    for task in scene.sleeper._tasks:
        task.cancel()


async def test_running_requests_end_before_it_sleeps_and_new_ones_wait(scene: Scene) -> None:
    async with scene.sleeper.turn(Client(b"{}")):
        scene.owner.give(Order(1, must_yield=True))
        await until(lambda: scene.owner.news.is_yielding)
        later = asyncio.create_task(scene.sleeper.turn(Client(b"{}")).__aenter__())
        await until(lambda: scene.owner.news.num_waiting == 1)
        assert "sleep" not in scene.engine.told
    await until(lambda: scene.owner.news.returned == 1)
    assert scene.sleeper.is_asleep
    assert not later.done()
    scene.owner.give(Order(2))
    await later
    assert scene.engine.told == ["start", "sleep", "wake"]


async def test_a_request_that_waited_still_has_its_body(scene: Scene) -> None:
    await scene.fall_asleep()
    turn = scene.sleeper.turn(Client(b"one", b"two"))
    entering = asyncio.create_task(turn.__aenter__())
    await until(lambda: scene.owner.news.num_waiting == 1)
    scene.owner.give(Order(2))
    receive = await entering
    assert [(await receive())["body"] for _ in range(2)] == [b"one", b"two"]
    await turn.__aexit__(None, None, None)


async def test_a_client_that_leaves_stops_waiting(scene: Scene) -> None:
    await scene.fall_asleep()
    client = Client(b"{}")
    entering = asyncio.create_task(scene.sleeper.turn(client).__aenter__())
    await until(lambda: scene.owner.news.num_waiting == 1)
    client.leave()
    with pytest.raises(ClientLeft):
        await entering
    await until(lambda: scene.owner.news.num_waiting == 0)


async def test_a_request_waits_a_bounded_time() -> None:
    scene = Scene(max_wait_s=0.01)
    with pytest.raises(ModelLoading):
        await scene.sleeper.turn(Client(b"{}")).__aenter__()


async def test_the_end_of_the_owner_ends_the_sleeper(scene: Scene) -> None:
    scene.owner.fail()
    with pytest.raises(ConnectionError):
        await scene.sleeper.ended()
