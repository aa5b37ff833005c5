"""Gateways hear of each change, and of none twice."""

from __future__ import annotations

import asyncio

from deployments.manager.changes import Changes
from tests.unit.builders import settle


async def test_all_who_wait_hear_of_the_next_change() -> None:
    changes = Changes()
    waiting = [asyncio.create_task(changes.after(changes.version, 60)) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in waiting)
    changes.note()
    await asyncio.gather(*waiting)


async def test_who_is_behind_does_not_wait() -> None:
    changes = Changes()
    behind = changes.version
    changes.note()
    await changes.after(behind, 60)


async def test_a_wait_ends_without_a_change() -> None:
    changes = Changes()
    version = changes.version
    await changes.after(version, 0.01)
    assert changes.version == version


async def test_a_new_manager_is_ahead_of_the_last_one() -> None:
    before = Changes()
    for _ in range(3):
        before.note()
    await asyncio.sleep(0.01)
    assert Changes().version > before.version


async def test_a_new_state_is_told_apart_from_other_changes() -> None:
    changes = Changes()
    changes.note()
    assert not changes.has_new_state.is_set()
    changes.note(True)
    assert changes.has_new_state.is_set()
