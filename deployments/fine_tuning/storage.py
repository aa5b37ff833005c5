"""Where files of examples are: a folder of the project or a URL that fsspec knows. Everything here blocks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from catalog.project import PROJECT

PART = ".part"
COPY_BYTES = 1024 * 1024


def location_of(place: str, name: str) -> str:
    """The path or URL of a file in a place."""
    return f"{place.rstrip('/')}/{name}" if "://" in place else str(PROJECT / place / name)


def put(location: str, file: IO[bytes]) -> None:
    """Store all that is left of `file`: it is there as a whole or not at all. Raises OSError."""
    fs, path = _located(location)
    fs.makedirs(fs._parent(path), exist_ok=True)
    try:
        with fs.open(path + PART, "wb") as stored:
            shutil.copyfileobj(file, stored, COPY_BYTES)
        fs.mv(path + PART, path)
    except BaseException:
        with suppress(OSError):
            fs.rm(path + PART)
        raise


def opened(location: str) -> IO[bytes]:
    """A stored file, to be read. Raises OSError."""
    fs, path = _located(location)
    return fs.open(path, "rb")


def pieces(location: str) -> Iterator[bytes]:
    """The bytes of a stored file, in pieces. Raises OSError."""
    with opened(location) as file:
        while piece := file.read(COPY_BYTES):
            yield piece


def delete(location: str) -> None:
    """Delete a stored file, or what there is of it; nothing happens if there is none. Raises OSError."""
    fs, path = _located(location)
    for each in (path, path + PART):
        with suppress(FileNotFoundError):
            fs.rm(each)


def _located(location: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(location)
