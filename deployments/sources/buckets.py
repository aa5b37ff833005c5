"""Downloads a folder of a bucket with fsspec, by the credentials that the node has (s3fs and gcsfs find them)."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import fsspec

from catalog.remote import RemoteSource, is_served
from catalog.sources import SourceRefused, SourceUnavailable
from deployments.sources.archives import MAX_FILES
from deployments.sources.cache import Expect

_DRIVERS = {"s3": "s3fs", "gs": "gcsfs"}
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})


def download(remote: RemoteSource, folder: Path, expect: Expect) -> None:
    """Put the served files below the source into `folder`; `expect` is told of all their bytes before.

    Raises SourceRefused or SourceUnavailable, or OSError of the disk.
    """
    root = "/".join((remote.place, *remote.segments))
    files = _list(remote.scheme, root)
    sizes = {path: size for path, size in files.items() if is_served(path)}
    if not sizes:
        what = "no file that is served; pickled weights are not loaded" if files else "nothing"
        raise SourceRefused(f"its bucket holds {what}, or lets this node see nothing, below the source")
    if len(sizes) > MAX_FILES:
        raise SourceRefused(f"its bucket holds more than {MAX_FILES} files below the source")
    expect(sum(sizes.values()))
    targets = [folder / path for path in sizes]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Several at a time, where the driver can.
        _file_system(remote.scheme).get([f"{root}/{path}" for path in sizes], [str(target) for target in targets])
    except Exception as error:
        raise _failure(error, folder) from None
    for target, size in zip(targets, sizes.values(), strict=True):
        if not target.is_file() or target.stat().st_size != size:
            raise SourceUnavailable("its bucket's files changed while they were fetched")


def _list(scheme: str, root: str) -> dict[str, int]:
    """Bytes of every file below `root`, by its path from there."""
    try:
        found: dict[str, Any] = _file_system(scheme).find(root, detail=True)
    except Exception as error:
        raise _failure(error) from None
    # Some drivers begin paths with a slash.
    below = len(root) + 1
    sizes = {path.lstrip("/")[below:]: int(info.get("size") or 0) for path, info in found.items()}
    # Object stores have keys that are no paths.
    return {path: size for path, size in sizes.items() if not {"", ".", ".."} & set(path.split("/"))}


def _file_system(scheme: str) -> Any:
    """Not a shared one: what it remembers of a folder may be out of date. Raises SourceRefused without its driver."""
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True)
    except ImportError:
        raise SourceRefused(f"{scheme}:// sources need the Python package {_DRIVERS[scheme]} on every node") from None


def _failure(error: Exception, folder: Path | None = None) -> Exception:
    """What a driver's error means; each driver has some of its own, which are no OSErrors."""
    if isinstance(error, SourceRefused):
        return error
    is_local = isinstance(error, OSError) and folder is not None and str(error.filename or "").startswith(str(folder))
    if is_local or (isinstance(error, OSError) and error.errno in _DISK_ERRORS):
        return error
    if isinstance(error, FileNotFoundError):
        return SourceRefused("its bucket does not exist, or holds nothing below the source")
    if isinstance(error, PermissionError):
        return SourceRefused("its bucket does not let this node read it")
    return SourceUnavailable(f"its bucket cannot be read just now ({type(error).__name__})")
