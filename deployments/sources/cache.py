"""The folders on this node that hold what was fetched: whole or not at all, fetched once, in use or up for leaving.

For a source with the key K (a hash of it) the cache's folder has

    K/        its files, whole and checked
    K.part/   while they are fetched; what a fetch that died has left is taken away by the next one
    K.fetch   locked by who fetches the source or takes it away, among all processes of the node
    K.use     locked, shared, by who uses the files; its time of change is when they were last asked for

The locks are the kernel's (flock), so those of a process that is killed are free at once.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from catalog.sources import SourceRefused, SourceUnavailable
from catalog.weights import WeightsIncomplete, require_complete

logger = logging.getLogger("ray.serve")

# Called with the bytes that a source will have, as soon as they are known.
Expect = Callable[[int], None]
# Puts a source's files into a folder. Raises FetchError, or OSError where this node's disk fails.
Fetch = Callable[[Path, Expect], None]


class Held:
    """Where a source's files are; they stay there until it is released or forgotten, or its process ends."""

    def __init__(self, location: str, lock: int | None = None) -> None:
        self.location = location
        self._unlock = None if lock is None else weakref.finalize(self, os.close, lock)

    def release(self) -> None:
        """May be called twice."""
        if self._unlock is not None:
            self._unlock()


class SourceCache:
    """A folder of at most `max_bytes`, shared by all processes of a node. Its methods block: call them in a thread."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def hold(self, source: str, fetch: Fetch, most_bytes: int | None = None) -> Held:
        """The files of a source, fetched unless they are here; waits while another process fetches the same.

        Raises FetchError, after which nothing is kept of them.
        """
        key = hashlib.sha256(source.encode()).hexdigest()[:32]
        with _disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._path(key, "fetch")):
                if not self._path(key).is_dir():
                    logger.info("fetching %s", source)
                    self._fetch(key, fetch, self._max_bytes if most_bytes is None else most_bytes)
                # Under the other lock, so that nobody takes the files away before they are marked as used.
                lock = os.open(self._path(key, "use"), os.O_RDWR | os.O_CREAT, 0o644)
                held = Held(str(self._path(key)), lock)
                fcntl.flock(lock, fcntl.LOCK_SH)
                os.utime(lock)
        return held

    def _fetch(self, key: str, fetch: Fetch, most_bytes: int) -> None:
        def expect(num_bytes: int) -> None:
            require_small(num_bytes, min(most_bytes, self._max_bytes))
            with _disk_errors(), self._room():
                self._make_room(num_bytes, key)

        part = self._path(key, "part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            fetch(part, expect)
            require_servable(part)
            with self._room():
                self._make_room(_bytes_of(part), key)
                part.rename(self._path(key))
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _make_room(self, num_bytes: int, key: str) -> None:
        """Raise SourceUnavailable unless so many bytes more fit, once what nothing uses has left."""
        for part in set(self._folder.glob("*.part")) - {self._path(key, "part")}:
            with _locked(part.with_suffix(".fetch"), wait=False) as is_mine:
                if is_mine:
                    shutil.rmtree(part, ignore_errors=True)
        sizes = {path: _bytes_of(path) for path in self._folder.iterdir() if path.is_dir() and not path.suffix}
        too_many = sum(sizes.values()) + num_bytes - self._max_bytes
        for path in sorted(sizes, key=_used_at_s):
            if too_many <= 0:
                return
            if self._take_away(path):
                too_many -= sizes[path]
        if too_many > 0:
            raise SourceUnavailable("the node's source cache is full of files in use (source_cache.max_gib)")

    def _take_away(self, path: Path) -> bool:
        """Whether it could be, since nobody uses or fetches it."""
        with _locked(path.with_suffix(".fetch"), wait=False) as is_mine:
            if not is_mine:
                return False
            with _locked(path.with_suffix(".use"), wait=False) as is_unused:
                if is_unused:
                    # Never half a folder under its own name.
                    path.rename(path.with_suffix(".part"))
                    shutil.rmtree(path.with_suffix(".part"), ignore_errors=True)
                    logger.info("source cache: %s has left", path.name)
                return is_unused

    def _room(self) -> AbstractContextManager[bool]:
        """Nothing else enters or leaves the folder meanwhile."""
        return _locked(self._folder / "room")

    def _path(self, key: str, suffix: str = "") -> Path:
        return self._folder / (f"{key}.{suffix}" if suffix else key)


def require_small(num_bytes: int, most_bytes: int) -> None:
    """Raise SourceRefused for a source with more bytes than may be fetched."""
    if num_bytes > most_bytes:
        raise SourceRefused(f"its source has {num_bytes / 2**30:.1f} GiB, and {most_bytes / 2**30:.1f} may be fetched")


def require_servable(folder: Path) -> None:
    """Raise SourceRefused unless a folder holds a whole adapter or a whole model."""
    is_adapter = (folder / "adapter_config.json").is_file()
    try:
        require_complete(folder, "adapter_config.json" if is_adapter else "config.json")
    except WeightsIncomplete as error:
        raise SourceRefused(str(error)) from None


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the file's lock alone; False where that would take a wait that is not wanted."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise SourceUnavailable where this node's disk fails."""
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "is full" if is_full else f"failed ({errno.errorcode.get(error.errno or 0, 'unknown')})"
        raise SourceUnavailable(f"the disk of the node's source cache {reason}") from error


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _used_at_s(path: Path) -> float:
    try:
        return path.with_suffix(".use").stat().st_mtime
    except OSError:
        return 0.0
