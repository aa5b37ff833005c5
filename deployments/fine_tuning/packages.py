"""Where the packages are that only trainings import; requirements/README.md says why they are apart."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "fine_tuning"


def is_installed() -> bool:
    """Whether they are there, on this node at least."""
    return FOLDER.is_dir()


def environment() -> dict[str, str]:
    """Variables of a process, and of its children in Ray, that is to import them."""
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(FOLDER), *([known] if known else [])])}
