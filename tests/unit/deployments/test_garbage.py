"""What stays is looked at no more, and is freed as ever."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from deployments.garbage import THRESHOLD, spare_what_stays


class Entry:
    """Something that lives long."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_what_is_there_is_not_looked_at_again() -> None:
    entry = Entry()
    spare_what_stays()
    assert not any(each is entry for each in gc.get_objects())
    assert gc.get_threshold()[0] == THRESHOLD


def test_what_is_spared_is_freed_when_nothing_refers_to_it() -> None:
    entry = Entry()
    seen = weakref.ref(entry)
    spare_what_stays()
    del entry
    assert seen() is None


def test_garbage_that_is_there_is_not_kept() -> None:
    entry = Entry()
    entry.itself = entry  # type: ignore[attr-defined]
    seen = weakref.ref(entry)
    del entry
    spare_what_stays()
    assert seen() is None
