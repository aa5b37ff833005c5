"""Profiles: addresses and keys that are remembered, in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FILE_VARIABLE = "RAYMUX_PROFILES"


@dataclass(frozen=True)
class Profile:
    """An address, and the key for it."""

    url: str
    api_key: str | None = None


@dataclass(frozen=True)
class Profiles:
    """Every profile by its name; `current` is the one in use, or None."""

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    current: str | None = None

    def find(self, name: str | None) -> Profile | None:
        """The named profile, or without a name the one in use. Raises ValueError when none has the name."""
        name = name if name is not None else self.current
        if name is None:
            return None
        if name not in self.profiles:
            known = ", ".join(self.profiles) or "there is none yet"
            raise ValueError(f"no profile is named {name!r} ({known}); `raymux profile add` adds one")
        return self.profiles[name]


def path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the profiles are: `RAYMUX_PROFILES`, or a file in the user's configuration folder."""
    if environment.get(FILE_VARIABLE):
        return Path(environment[FILE_VARIABLE])
    import platformdirs

    return platformdirs.user_config_path("raymux") / "profiles.json"


def load() -> Profiles:
    """Read the file; none is as good as an empty one. Raises ValueError for one that cannot be read."""
    file = path()
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        profiles = {name: Profile(**entry) for name, entry in document["profiles"].items()}
        return Profiles(profiles, document["current"])
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{file} holds no profiles that can be read; mend or remove it") from None


def save(profiles: Profiles) -> None:
    """Write the file, at no moment readable by others nor half written."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = {
        "current": profiles.current,
        "profiles": {name: vars(profile) for name, profile in profiles.profiles.items()},
    }
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=2)
            stream.write("\n")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
