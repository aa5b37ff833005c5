"""Reads YAML: as `yaml.safe_load` does, a good deal faster."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

try:
    from yaml.cyaml import CParser  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:
    # PyYAML was built without libyaml; its wheels are built with it.
    CParser = None


def load_yaml(text: str) -> Any:
    """The document. Raises what `yaml.safe_load` raises."""
    return yaml.load(text, yaml.SafeLoader if CParser is None else _Loader)


if CParser is not None:

    class _Loader(Composer, CParser, SafeConstructor, Resolver):
        """Parses in C and composes in Python: libyaml's composer is faster yet, but deep nesting ends the process."""

        def __init__(self, stream: str) -> None:
            CParser.__init__(self, stream)  # pyright: ignore[reportCallIssue]
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)
