"""Environments of their own for servers that need what raymux's does not have; in `.cache/bench`, made when needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

from catalog.project import PROJECT

LOCKS = Path(__file__).parent / "locks"
FOLDER = PROJECT / ".cache" / "bench"


class EnvironmentFailed(RuntimeError):
    """pip did not install what a lock names."""


def extended(name: str) -> Path:
    """The Python of an environment that has this one's packages, and before them those that `locks/NAME.txt` pins.

    Raises EnvironmentFailed.
    """
    packages = sysconfig.get_path("purelib")
    # `addsitedir`, so that the other environment's own .pth files count too.
    return _environment(name, f"import site; site.addsitedir({packages!r})\n")


def isolated(name: str, locks: Path = LOCKS) -> Path:
    """The Python of an environment that has what NAME.txt in `locks` pins, nothing else. Raises EnvironmentFailed."""
    return _environment(name, "", locks)


def _environment(name: str, path_file: str, locks: Path = LOCKS) -> Path:
    folder, lock = FOLDER / name, locks / f"{name}.txt"
    python = folder / "bin" / "python"
    stamp, state = folder / ".installed", _state(lock, path_file)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != state:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        (own / "extended.pth").write_text(path_file, encoding="utf-8")
        _install(python, lock)
        stamp.write_text(state, encoding="utf-8")
    return python


def _state(lock: Path, path_file: str) -> str:
    """Changes with the lock, the interpreter and the environment that is extended."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    return f"{sys.version} {path_file} {digest}"


def _install(python: Path, lock: Path) -> None:
    print(f"installing {lock.name} into {python.parents[1].relative_to(PROJECT)}", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check", "--no-input"]
    words = ["install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(lock)]
    done = subprocess.run([*pip, *words], capture_output=True, text=True)
    if done.returncode:
        raise EnvironmentFailed(f"pip did not install {lock.name}: {done.stderr[-1000:]}")
