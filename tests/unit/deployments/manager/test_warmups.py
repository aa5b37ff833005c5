from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autoscaling.choice import Reason
from catalog.errors import InvalidRequest, ModelFailed, RaymuxError, StoreUnavailable, WarmupNotFound
from catalog.warmups import Warmup, WarmupState
from deployments.manager import warmups as module
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.view import Placed
from deployments.manager.warmups import Warmups
from tests.unit.builders import CHAT, report, until

CPU, H100 = f"{CHAT}@CPU", f"{CHAT}@H100:4"


def placed(*args: Any, **changes: Any) -> Placed:
    return Placed(report(*args, **changes), Reason.PLACEABLE)


class Cluster:
    """What brings up replicas: nothing before `finish`, then the outcome; `started` lists what was asked for."""

    def __init__(self) -> None:
        self.started: list[tuple[str, ...]] = []
        self.outcome: Placed | RaymuxError | None = None

    async def ensure(self, warmup: Warmup) -> Placed | RaymuxError:
        self.started.append(warmup.wanted)
        await until(lambda: self.outcome is not None)
        assert self.outcome is not None
        return self.outcome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "raymux.db"


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
async def warmups(cluster: Cluster, path: Path) -> AsyncIterator[Warmups]:
    warmups = Warmups(SqliteStore(path), cluster.ensure, lambda: None)
    yield warmups
    for start in warmups._starts.values():
        start.cancel()


async def restored(cluster: Cluster, path: Path) -> Warmups:
    """A manager's warm-ups after its restart."""
    warmups = Warmups(SqliteStore(path), cluster.ensure, lambda: None)
    await warmups.restore()
    return warmups


async def test_a_warmup_is_ready_with_the_variant_that_was_taken(warmups: Warmups, cluster: Cluster) -> None:
    begun = await warmups.begin(CHAT, (H100, CPU), 60)
    assert begun.state is WarmupState.STARTING
    cluster.outcome = placed(variant=CPU)
    ready = await warmups.settled(begun.id)
    assert (ready.state, ready.variant) == (WarmupState.READY, CPU)
    assert ready.ready_s is not None
    assert ready.keep_until_s == ready.ready_s + 60


async def test_a_variant_is_held_from_the_start_until_the_time_is_over(warmups: Warmups, cluster: Cluster) -> None:
    assert warmups.held_until_s(CPU) == 0
    begun = await warmups.begin(CHAT, (H100, CPU), 60)
    assert warmups.held_until_s(CPU) > time.time()
    assert warmups.held_until_s(H100) > time.time()
    cluster.outcome = placed(variant=CPU)
    ready = await warmups.settled(begun.id)
    assert warmups.held_until_s(CPU) == ready.keep_until_s
    assert warmups.held_until_s(H100) == 0
    assert ready.keep_until_s is not None
    await warmups.tick(ready.keep_until_s + 1, lambda key: True)
    assert warmups.held_until_s(CPU) == 0
    assert warmups.find(begun.id).state is WarmupState.ENDED


async def test_of_several_the_longest_holds(warmups: Warmups, cluster: Cluster) -> None:
    cluster.outcome = placed(variant=CPU)
    ready = [await warmups.settled((await warmups.begin(CHAT, (CPU,), keep_s)).id) for keep_s in (60, 600, 6)]
    assert warmups.held_until_s(CPU) == ready[1].keep_until_s


async def test_one_that_cannot_start_has_failed_with_the_reason(warmups: Warmups, cluster: Cluster) -> None:
    cluster.outcome = ModelFailed("the weights are cursed")
    failed = await warmups.settled((await warmups.begin(CHAT, (CPU,), 60)).id)
    assert (failed.state, failed.error) == (WarmupState.FAILED, "the weights are cursed")
    assert warmups.held_until_s(CPU) == 0


async def test_a_variant_that_is_lost_meanwhile_is_started_again(warmups: Warmups, cluster: Cluster) -> None:
    cluster.outcome = placed(variant=CPU)
    ready = await warmups.settled((await warmups.begin(CHAT, (H100, CPU), 60)).id)
    await warmups.tick(time.time(), lambda key: True)
    assert len(cluster.started) == 1
    cluster.outcome = ModelFailed("not just now")
    await warmups.tick(time.time(), lambda key: False)
    await until(lambda: not warmups._starts)
    assert cluster.started[1:] == [(CPU,)]
    assert warmups.find(ready.id).state is WarmupState.READY, "a passing failure does not end it"
    await warmups.tick(time.time(), lambda key: False)
    assert len(warmups._starts) == 1


async def test_two_starts_of_one_never_run_at_once(warmups: Warmups, cluster: Cluster) -> None:
    await warmups.begin(CHAT, (CPU,), 60)
    for _ in range(3):
        await warmups.tick(time.time(), lambda key: False)
    await until(lambda: cluster.started)
    assert len(cluster.started) == 1


async def test_all_of_it_survives_a_restart(warmups: Warmups, cluster: Cluster, path: Path) -> None:
    starting = await warmups.begin(CHAT, (H100, CPU), 60)
    again = await restored(Cluster(), path)
    assert again.find(starting.id) == starting
    cluster.outcome = placed(variant=CPU)
    ready = await warmups.settled(starting.id)
    again = await restored(cluster, path)
    assert again.find(ready.id) == ready
    assert again.held_until_s(CPU) == ready.keep_until_s


async def test_one_that_was_starting_goes_on_after_a_restart(warmups: Warmups, cluster: Cluster, path: Path) -> None:
    begun = await warmups.begin(CHAT, (CPU,), 60)
    again = await restored(cluster, path)
    cluster.outcome = placed(variant=CPU)
    await again.tick(time.time(), lambda key: True)
    assert (await again.settled(begun.id)).state is WarmupState.READY


async def test_ending_one_lets_its_variant_go(warmups: Warmups, cluster: Cluster) -> None:
    cluster.outcome = placed(variant=CPU)
    ready = await warmups.settled((await warmups.begin(CHAT, (CPU,), 60)).id)
    assert warmups.keeps(CHAT)
    assert (await warmups.end(ready.id)).state is WarmupState.ENDED
    assert warmups.held_until_s(CPU) == 0
    assert not warmups.keeps(CHAT)
    with pytest.raises(WarmupNotFound):
        await warmups.end("nobody")


async def test_ending_one_that_starts_is_not_undone_by_its_start(warmups: Warmups, cluster: Cluster) -> None:
    begun = await warmups.begin(CHAT, (CPU,), 60)
    await warmups.end_all(CHAT)
    cluster.outcome = placed(variant=CPU)
    assert (await warmups.settled(begun.id)).state is WarmupState.ENDED


async def test_one_that_is_over_is_forgotten_after_a_while(warmups: Warmups, cluster: Cluster, path: Path) -> None:
    ended = await warmups.end((await warmups.begin(CHAT, (CPU,), 60)).id)
    await warmups.tick(time.time(), lambda key: True)
    assert warmups.find(ended.id) == ended
    await warmups.tick(time.time() + module.REMEMBERED_S + 1, lambda key: True)
    with pytest.raises(WarmupNotFound):
        warmups.find(ended.id)
    assert (await restored(cluster, path)).all() == ()


async def test_their_number_is_bounded(warmups: Warmups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACTIVE", 2)
    first = await warmups.begin(CHAT, (CPU,), 60)
    await warmups.begin(CHAT, (CPU,), 60)
    with pytest.raises(InvalidRequest):
        await warmups.begin(CHAT, (CPU,), 60)
    await warmups.end(first.id)
    await warmups.begin(CHAT, (CPU,), 60)


async def test_one_that_cannot_be_stored_is_not_begun(
    warmups: Warmups, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StoreUnavailable("full")

    monkeypatch.setattr(warmups._store, "put", full)
    with pytest.raises(StoreUnavailable):
        await warmups.begin(CHAT, (CPU,), 60)
    assert warmups.all() == ()
    await asyncio.sleep(0)
    assert cluster.started == []


# By the clock


def scheduled(begun_s: float, keep_warm_s: float = 100.0) -> Warmup:
    return Warmup("warmup-window", CHAT, (CPU,), keep_warm_s, begun_s, is_scheduled=True)


async def test_a_window_begins_once_and_is_kept_until_it_closes(warmups: Warmups, cluster: Cluster) -> None:
    begun_s = time.time()
    for _ in range(3):
        await warmups.follow([scheduled(begun_s)])
    cluster.outcome = placed(variant=CPU)
    await warmups.settled("warmup-window")
    assert cluster.started == [(CPU,)]
    assert warmups.held_until_s(CPU) == begun_s + 100
    await warmups.tick(begun_s + 101, lambda _: True)
    assert warmups.find("warmup-window").state is WarmupState.ENDED


async def test_a_window_whose_model_fails_tries_again_until_it_closes(warmups: Warmups, cluster: Cluster) -> None:
    begun_s = time.time()
    cluster.outcome = ModelFailed("not just now")
    await warmups.follow([scheduled(begun_s)])
    await warmups.settled("warmup-window")
    assert warmups.find("warmup-window").state is WarmupState.STARTING
    cluster.outcome = placed(variant=CPU)
    await warmups.tick(begun_s + 1, lambda _: False)
    await warmups.settled("warmup-window")
    assert warmups.find("warmup-window").state is WarmupState.READY


async def test_a_window_that_was_ended_by_hand_stays_ended_and_across_a_restart(
    warmups: Warmups, cluster: Cluster, path: Path
) -> None:
    begun_s, day_s = time.time(), 86_400.0
    window = scheduled(begun_s, keep_warm_s=day_s)
    await warmups.follow([window])
    await warmups.end(window.id)
    await warmups.tick(begun_s + day_s - 1, lambda _: True)
    heir = await restored(cluster, path)
    await heir.follow([window])
    assert heir.find(window.id).state is WarmupState.ENDED
    await heir.tick(begun_s + day_s + module.REMEMBERED_S + 1, lambda _: True)
    assert heir.all() == ()
