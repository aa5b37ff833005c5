from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from catalog.sources import SourceRefused, SourceUnavailable
from deployments.sources.cache import Expect, Held, SourceCache
from tests.unit.deployments.sources.adapters import FILES, write

SIZE = sum(map(len, FILES.values()))


class Fetcher:
    """Writes the adapter, and counts how often."""

    def __init__(self) -> None:
        self.fetches = 0

    def __call__(self, folder: Path, expect: Expect) -> None:
        self.fetches += 1
        expect(SIZE)
        write(folder)


def cache_of(tmp_path: Path, num_adapters: float = 10) -> SourceCache:
    return SourceCache(tmp_path / "cache", int(SIZE * num_adapters))


def kept(tmp_path: Path) -> set[str]:
    return {str(path) for path in (tmp_path / "cache").iterdir() if path.is_dir()}


def used_at(held: Held, at_s: int) -> str:
    os.utime(f"{held.location}.use", (at_s, at_s))
    return held.location


def test_a_source_is_fetched_once_and_whole(tmp_path: Path) -> None:
    fetcher = Fetcher()
    first, second = (cache_of(tmp_path).hold("s3://b/a", fetcher) for _ in range(2))
    assert first.location == second.location
    assert fetcher.fetches == 1
    assert {path.name: path.read_bytes() for path in Path(first.location).iterdir()} == FILES
    assert cache_of(tmp_path).hold("s3://b/other", fetcher).location != first.location


def test_two_replicas_that_ask_at_once_fetch_once(tmp_path: Path) -> None:
    begun, may_end, fetches = threading.Event(), threading.Event(), list[Path]()

    def fetch(folder: Path, expect: Expect) -> None:
        fetches.append(folder)
        begun.set()
        assert may_end.wait(10)
        write(folder)

    found: list[str] = []

    def ask() -> None:
        found.append(cache_of(tmp_path).hold("s3://b/a", fetch).location)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    assert not found, "nobody is given files that are not whole"
    may_end.set()
    for thread in threads:
        thread.join(10)
    assert len(fetches) == 1
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_fetch_that_fails_leaves_nothing_and_the_next_one_begins_again(tmp_path: Path) -> None:
    def fetch_half(folder: Path, expect: Expect) -> None:
        (folder / "adapter_config.json").write_bytes(b"{")
        raise SourceUnavailable("its server answered 503")

    cache = cache_of(tmp_path)
    with pytest.raises(SourceUnavailable, match="503"):
        cache.hold("s3://b/a", fetch_half)
    assert kept(tmp_path) == set()
    assert cache.hold("s3://b/a", Fetcher()).location in kept(tmp_path)


def test_what_a_killed_fetch_left_is_never_served(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    location = cache.hold("s3://b/a", Fetcher()).location
    Path(location).rename(f"{location}.part")
    (Path(f"{location}.part") / "adapter_config.json").write_bytes(b"{")
    (tmp_path / "cache" / "of-another.part").mkdir()
    again = cache.hold("s3://b/a", Fetcher())
    assert (Path(again.location) / "adapter_config.json").read_bytes() == FILES["adapter_config.json"]
    assert kept(tmp_path) == {location}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"adapter_config.json": FILES["adapter_config.json"]}, "pickled weights are not loaded"),
        ({**FILES, "adapter_model.safetensors": FILES["adapter_model.safetensors"][:-1]}, "still being written"),
        ({"model.safetensors": FILES["adapter_model.safetensors"]}, "config.json is missing"),
    ],
)
def test_files_that_are_not_whole_are_not_kept(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(SourceRefused, match=said):
        cache_of(tmp_path).hold("s3://b/a", lambda folder, expect: write(folder, files))
    assert kept(tmp_path) == set()


def test_the_least_recently_used_that_nobody_uses_leaves(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, num_adapters=3)
    old, older, oldest = (cache.hold(f"s3://b/{name}", Fetcher()) for name in ("old", "older", "oldest"))
    locations = [used_at(held, at_s) for held, at_s in ((old, 300), (older, 200), (oldest, 100))]
    older.release()
    old.release()
    new = cache.hold("s3://b/new", Fetcher()).location
    assert kept(tmp_path) == {locations[0], locations[2], new}, "the oldest is in use"


def test_a_cache_full_of_files_in_use_takes_no_more(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, num_adapters=1.5)
    held = cache.hold("s3://b/a", Fetcher())
    with pytest.raises(SourceUnavailable, match="in use"):
        cache.hold("s3://b/b", Fetcher())
    held.release()
    assert kept(tmp_path) == {held.location}
    assert kept(tmp_path) != {cache.hold("s3://b/b", Fetcher()).location}


@pytest.mark.parametrize("most_bytes", [None, SIZE - 1])
def test_a_source_that_is_too_large_is_refused_and_drives_nothing_out(tmp_path: Path, most_bytes: int | None) -> None:
    cache = cache_of(tmp_path, num_adapters=1.5)
    held = cache.hold("s3://b/a", Fetcher())
    held.release()

    def fetch(folder: Path, expect: Expect) -> None:
        expect(SIZE * 2 if most_bytes is None else SIZE)

    with pytest.raises(SourceRefused, match="may be fetched"):
        cache.hold("s3://b/b", fetch, most_bytes)
    assert kept(tmp_path) == {held.location}


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    def fetch(folder: Path, expect: Expect) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with pytest.raises(SourceUnavailable, match="is full") as caught:
        cache_of(tmp_path).hold("s3://b/a", fetch)
    assert str(tmp_path) not in caught.value.for_callers
    assert kept(tmp_path) == set()
