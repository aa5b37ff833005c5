"""Gateways hear of each change, and of none twice."""

from __future__ import annotations

import asyncio

from deployments.manager.changes import Changes
from tests.unit.builders import settle

KEY = "demo-chat@CPU"


async def test_all_who_wait_hear_of_the_next_change() -> None:
    changes = Changes()
    waiting = [asyncio.create_task(changes.after(changes.version, 60)) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in waiting)
    changes.note(KEY)
    await asyncio.gather(*waiting)


async def test_who_is_behind_does_not_wait() -> None:
    changes = Changes()
    behind = changes.version
    changes.note(KEY)
    await changes.after(behind, 60)


async def test_a_wait_ends_without_a_change() -> None:
    changes = Changes()
    version = changes.version
    await changes.after(version, 0.01)
    assert changes.version == version


async def test_another_manager_has_other_versions_at_the_same_time_and_at_any_pace() -> None:
    before, after = Changes(), Changes()
    for _ in range(3_000):
        before.note(KEY)
        after.note(KEY)
    assert after.since(before.version) is None
    assert after.catalog_version != before.catalog_version


async def test_a_new_state_is_told_apart_from_other_changes() -> None:
    changes = Changes()
    changes.note(KEY)
    assert not changes.has_new_state.is_set()
    changes.note(KEY, True)
    assert changes.has_new_state.is_set()


async def test_who_is_behind_is_told_what_has_changed_since_and_nothing_else() -> None:
    changes = Changes()
    begun = changes.version
    changes.note("a")
    changes.note("b")
    known = changes.version
    changes.note("a")
    assert changes.since(begun) == ["a", "b"]
    assert changes.since(known) == ["a"]
    assert changes.since(changes.version) == []


async def test_after_a_change_of_everything_an_earlier_version_says_nothing() -> None:
    changes = Changes()
    changes.note("a")
    before = changes.version
    changes.note_all()
    assert changes.version > before
    assert changes.since(before) is None
    changes.note("b")
    assert changes.since(before) is None
    assert changes.since(changes.version - 1) == ["b"]


async def test_the_version_of_another_manager_says_nothing() -> None:
    changes = Changes()
    changes.note("a")
    for version in (0, changes.version - 2, changes.version + 1):
        assert changes.since(version) is None
