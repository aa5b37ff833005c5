"""The one place where commands reach for the server's code, and only when they run.

The client stands alone: what is imported here may not be installed. Every function raises NotInstalled then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raymux.cli.errors import CliError, NotInstalled

_INSTALL = "`pip install 'raymux[cpu]'` (or `raymux[gpu]`) brings it"


def validate(file: Path) -> list[str]:
    """Check a Serve configuration and return what is to be said of it. Raises CliError with its first problem."""
    with _needed_for("checking a configuration"):
        from catalog.loading import ConfigError
        from catalog.validate import check, located
    try:
        return check(file)
    except ConfigError as error:
        raise CliError(located(file, error)) from None


def new_key(**fields: Any) -> tuple[str, dict[str, Any]]:
    """A new key, and the entry of the gateway's `keys` for it; it is named after its hash if `id` is not given.

    Raises CliError for fields that are not allowed.
    """
    with _needed_for("making a key"):
        from pydantic import ValidationError

        from catalog.keys import ApiKeySettings
        from catalog.registry import first_problem
        from router.keys import hash_key, new_key
    key = new_key()
    sha256 = hash_key(key)
    try:
        entry = ApiKeySettings(**{"id": f"key-{sha256[:8]}", **fields, "sha256": sha256})
    except ValidationError as error:
        raise CliError(": ".join(first_problem(error))) from None
    return key, entry.model_dump(mode="json", exclude_unset=True)


def serve(arguments: list[str]) -> int:
    """Run a server in the foreground until a signal, and return its exit status."""
    with _needed_for("running a server"):
        if find_spec("ray") is None:
            raise ModuleNotFoundError(name="ray")
        # `main` imports it when it is called, where what is missing could not be told from a fault.
        import_module("deployments.launch")
        from deployments.serve import main
    return main(arguments)


@contextmanager
def _needed_for(what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{what} needs {error.name}, which is not installed: {_INSTALL}.") from None
