from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog.catalog import VariantSpec
from catalog.models import LifecycleSettings
from deployments.manager.habits import SAVE_INTERVAL_S, Habits
from deployments.manager.sqlite_store import SqliteStore
from deployments.manager.store import Store
from tests.unit.builders import CHAT, variant

DAY_S = 86_400.0
# Midnight UTC.
MONDAY_S = 20_000 * DAY_S


def spec(**lifecycle: Any) -> VariantSpec:
    return replace(variant(), lifecycle=LifecycleSettings(**lifecycle))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "raymux.db")


def use_every(habits: Habits, interval_s: float, count: int, start_s: float = MONDAY_S) -> None:
    for index in range(count):
        habits.note_use(CHAT, start_s + index * interval_s)


def test_an_idle_time_is_learned_only_within_its_bounds_and_where_asked_for(store: Store) -> None:
    habits = Habits(store)
    use_every(habits, 200.0, 50)
    assert habits.idle_timeout_s(spec(), 30.0) == 300
    learned = habits.idle_timeout_s(spec(min_idle_timeout_s=60, idle_timeout_s=3600), 30.0)
    assert 200 < learned < 600, "pauses of 200 s are bridged, and not much more is paid for"
    assert habits.idle_timeout_s(spec(min_idle_timeout_s=10, idle_timeout_s=100), 30.0) <= 100


def test_a_time_of_day_with_requests_on_each_day_is_expected_where_prewarming_is_on(store: Store) -> None:
    habits = Habits(store)
    for day in range(5):
        habits.note_use(CHAT, MONDAY_S + day * DAY_S + 8 * 3600 + 60)
    now_s = MONDAY_S + 5 * DAY_S + 8 * 3600 - 20
    assert habits.is_expected(spec(prewarm=True), 30.0, now_s, is_warm=False)
    assert not habits.is_expected(spec(), 30.0, now_s, is_warm=False)
    assert not habits.is_expected(spec(prewarm=True), 30.0, now_s - 3600, is_warm=False)


async def test_what_was_learned_outlives_the_manager(store: Store, tmp_path: Path) -> None:
    habits = Habits(store)
    use_every(habits, 200.0, 50)
    await habits.save(habits._saved_at_s + SAVE_INTERVAL_S)
    heir = Habits(SqliteStore(tmp_path / "raymux.db"))
    await heir.restore()
    wish = spec(min_idle_timeout_s=60, idle_timeout_s=3600)
    assert heir.idle_timeout_s(wish, 30.0) == habits.idle_timeout_s(wish, 30.0) != 300
    await heir.forget([])
    assert await store.read("history") == {}  # type: ignore[arg-type]


async def test_an_old_report_does_not_count_twice(store: Store) -> None:
    habits = Habits(store)
    habits.note_use(CHAT, MONDAY_S + 500)
    habits.note_use(CHAT, MONDAY_S)
    assert habits._histories[CHAT].last_seen_s == MONDAY_S + 500
