"""Where weights are: turns a `source` of the configuration into a folder here, or says that they are elsewhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from catalog.project import PROJECT
from catalog.remote import is_remote


class SourceNotFound(ValueError):
    """The source leads to no files; the message names the source as the operator wrote it."""

    @property
    def for_callers(self) -> str:
        """The message without the source, which may be a path."""
        return f"{str(self).partition(' source ')[0]} its source"


class FetchError(SourceNotFound):
    """A remote source's files did not come here. The message names neither source nor place, so callers may see it."""

    @property
    def for_callers(self) -> str:
        return str(self)


class SourceRefused(FetchError):
    """The source has nothing that can be served, or not for this node; the same fetch would fail again."""


class SourceUnavailable(FetchError):
    """Its server, the network or this node's disk failed; the same fetch may succeed later."""


def locate(source: str) -> str:
    """A folder's absolute path, or the source itself when it is a URL or a hub id (`owner/name`, no folder here).

    Raises SourceNotFound when it is neither.
    """
    if is_remote(source):
        return source
    if source.startswith("package:"):
        return str(_in_package(source))
    path = Path(source) if source.startswith("/") else PROJECT / source
    if path.is_dir():
        return str(path)
    if _looks_like_hub_id(source):
        return source
    raise SourceNotFound(f"no folder at source {source!r}")


def locate_within(source: str, roots: Iterable[str]) -> Path | None:
    """The folder at `source` if it lies in one of the folders `roots`, links followed; else None.

    Tells nothing about what is outside of them, so that a source from a request cannot be used to look around.
    """
    try:
        path = (PROJECT / source).resolve()
        is_within = any(path.is_relative_to((PROJECT / root).resolve()) for root in roots)
        return path if is_within and path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None


def is_local(location: str) -> bool:
    """Whether a located source is a folder, so that nobody else needs to be asked."""
    return location.startswith("/")


def _in_package(source: str) -> Path:
    module, _, folder = source.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    for root in (spec.submodule_search_locations or []) if spec else []:
        path = Path(root) / folder
        if path.is_dir():
            return path
    raise SourceNotFound(f"no installed package holds source {source!r}")


def _looks_like_hub_id(source: str) -> bool:
    owner, slash, name = source.partition("/")
    # Folders of this project are not hub ids, so a mistyped path fails here and not at a hub.
    return bool(slash and owner and name) and "/" not in name and not (PROJECT / owner).exists() and owner != "."
