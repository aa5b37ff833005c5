"""Unpacks the served files of an archive; whatever else is in it stays there.

Files are written to paths made here, never by the archive's own word: there are no links, no modes, no owners, and a
name that leads out of the folder condemns the whole archive.
"""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from catalog.remote import is_served
from catalog.sources import SourceRefused
from deployments.sources.cache import Expect, require_small

MAX_FILES = 10_000
# RuntimeError: a compression or encryption that zipfile does not know.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive, and how its content is read."""

    path: str
    num_bytes: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, expect: Expect, most_bytes: int) -> None:
    """Put the served files into `folder`, those of the archive's only directory where it has nothing else.

    `expect` is told of all their bytes before the first is written. What will not be kept counts among `most_bytes`
    too, for finding the file behind it means to unpack it. Raises SourceRefused.
    """
    with _opened(archive, most_bytes) as members:
        kept = layout(member.path for member in members)
        wanted = [(member, kept[member.path]) for member in members if member.path in kept]
        expect(sum(member.num_bytes for member, _ in wanted))
        for member, path in wanted:
            _write(member, folder / path)


def layout(paths: Iterable[str]) -> dict[str, str]:
    """Where each served file goes, relative to the folder, by its path in the archive.

    Raises SourceRefused for an archive with a path that leads out of it, or with none that is served.
    """
    kept: dict[str, str] = {}
    for path in paths:
        steps = [step for step in path.split("/") if step not in ("", ".")]
        if path.startswith("/") or ".." in steps or "\\" in path or ":" in path or "\0" in path:
            raise SourceRefused("its archive holds a path that leads out of it")
        if path in kept:
            raise SourceRefused("its archive holds a file twice")
        if is_served("/".join(steps)):
            kept[path] = "/".join(steps)
    tops = {path.partition("/")[0] for path in kept.values()}
    if not kept:
        raise SourceRefused("its archive holds no file that is served; pickled weights are not loaded")
    if len(tops) == 1 and all("/" in path for path in kept.values()):
        kept = {name: path.partition("/")[2] for name, path in kept.items()}
    if len(set(kept.values())) < len(kept):
        raise SourceRefused("its archive holds a file twice")
    return kept


@contextmanager
def _opened(archive: Path, most_bytes: int) -> Iterator[list[Member]]:
    damaged = SourceRefused("its archive is damaged or incomplete")
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                yield _small(_zip_members(file), most_bytes)
        else:
            with tarfile.open(archive, "r:" if archive.name.endswith(".tar") else "r:gz") as file:
                yield _small(_tar_members(file), most_bytes)
    except _DAMAGED:
        raise damaged from None
    except OSError as error:
        # gzip's errors have no number; those of the disk do.
        if error.errno is None:
            raise damaged from None
        raise


def _tar_members(file: tarfile.TarFile) -> Iterator[Member]:
    for info in _counted(file):
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise SourceRefused("its archive holds links or other things that are no files")
        yield Member(info.name, info.size, lambda info=info: _readable(file.extractfile(info)))


def _zip_members(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in _counted(file.infolist()):
        if info.is_dir():
            continue
        # The upper half is the mode of Unix, where its writer has set one: 0o10 are files.
        if info.external_attr >> 28 not in (0, 0o10) or info.flag_bits & 1:
            raise SourceRefused("its archive holds links, or files with a password")
        yield Member(info.filename, info.file_size, lambda info=info: file.open(info))


def _counted(entries: Iterable[_T]) -> Iterator[_T]:
    """The entries, folders included. Raises SourceRefused when they are too many."""
    for count, entry in enumerate(entries, start=1):
        if count > MAX_FILES:
            raise SourceRefused(f"its archive holds more than {MAX_FILES} files")
        yield entry


def _small(members: Iterable[Member], most_bytes: int) -> list[Member]:
    """The members, read one by one. Raises SourceRefused as soon as they are too large."""
    found, num_bytes = list[Member](), 0
    for member in members:
        found.append(member)
        num_bytes += member.num_bytes
        require_small(num_bytes, most_bytes)
    return found


def _readable(file: IO[bytes] | None) -> IO[bytes]:
    assert file is not None, "only files are members"
    return file


def _write(member: Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as read, path.open("xb") as written:
        shutil.copyfileobj(read, written, 1024 * 1024)
    if path.stat().st_size != member.num_bytes:
        raise SourceRefused("its archive is damaged or incomplete")
