"""Downloads a repository of a Hugging Face hub, in a process of its own.

That process has the environment of the node (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`). The one that
asks may be an engine's, whose own hub library is offline for good once its model is a folder. The hub's library keeps
the files, resumes downloads and locks what it fetches.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from catalog.project import PROJECT
from catalog.remote import SERVED_FILES, RemoteSource
from catalog.sources import FetchError, SourceRefused, SourceUnavailable
from deployments.sources.cache import require_small

_ERRORS = {error.__name__: error for error in (SourceRefused, SourceUnavailable)}


def download(remote: RemoteSource, most_bytes: int, environment: Mapping[str, str]) -> str:
    """The folder that holds the source's files. Blocks. Raises SourceRefused or SourceUnavailable."""
    name, *folders = remote.segments
    order = {
        "repository": f"{remote.place}/{name}",
        "revision": remote.revision,
        "folder": "/".join(folders),
        "most_bytes": most_bytes,
    }
    done = subprocess.run(
        [sys.executable, "-m", "deployments.sources.hub"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**environment, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        check=False,
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise SourceUnavailable(f"its hub could not be asked (exit code {done.returncode})") from None
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["reason"])
    return answer["location"]


def fetch(repository: str, revision: str | None, folder: str, most_bytes: int) -> str:
    """What the process does. Raises SourceRefused or SourceUnavailable."""
    from huggingface_hub import constants, errors, snapshot_download

    patterns = [f"{folder}/{pattern}" if folder else pattern for pattern in SERVED_FILES]
    wish = functools.partial(snapshot_download, repository, revision=revision, allow_patterns=patterns)
    try:
        # Without an answer of the hub, what is here of it will do.
        is_answered = not constants.is_offline_mode() and _require_small(wish, most_bytes)
        location = Path(wish(local_files_only=not is_answered)) / folder
    except errors.GatedRepoError:
        raise SourceRefused("its hub does not let this node read it: is HF_TOKEN set on every node?") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise SourceRefused("its hub has no such repository or revision, or does not show it to this node") from None
    except errors.LocalEntryNotFoundError:
        is_offline = constants.is_offline_mode()
        reason = "HF_HUB_OFFLINE is set" if is_offline else "its hub cannot be reached"
        raise SourceUnavailable(f"{reason}, and HF_HOME does not hold it") from None
    if not location.is_dir():
        raise SourceRefused("its repository has no such folder, or no file in it that is served")
    return str(location)


def _require_small(wish: Callable[..., Any], most_bytes: int) -> bool:
    """Whether the hub has said how large the files are. Raises SourceRefused when that is too large."""
    from huggingface_hub import errors

    try:
        planned = wish(dry_run=True)
    except errors.DryRunError as error:
        if isinstance(error.__cause__, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
            raise error.__cause__ from None
        return False
    require_small(sum(file.file_size or 0 for file in planned), most_bytes)
    return True


def main() -> None:
    """Read an order as JSON, and print where the files are, or why they are not."""
    try:
        answer = {"location": fetch(**json.load(sys.stdin))}
    except FetchError as error:
        answer = {"error": type(error).__name__, "reason": str(error)}
    except Exception as error:
        answer = {"error": SourceUnavailable.__name__, "reason": f"its hub failed ({type(error).__name__})"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
