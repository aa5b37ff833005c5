"""Where in a YAML file something stands: the line of a dotted path such as `applications.0.deployments.1.name`."""

from __future__ import annotations

import re

import yaml

_PATH = re.compile(r"[\w.-]+")


def line_of(text: str, path: str) -> int | None:
    """The line, counted from 1, of the deepest part of a path that the text has; None where it has none of it."""
    found = _find(_compose(text), path)
    return None if found is None else found[1]


def line_of_problem(text: str, message: str) -> int | None:
    """The line that a message is about. It begins with a path, which a second one may continue: `a.0: b.1: why`."""
    node, line = _compose(text), None
    for part in message.split(": ")[:-1]:
        found = _find(node, part.split(" ")[0]) if _PATH.fullmatch(part.split(" ")[0]) else None
        if found is None:
            break
        node, line = found
    return line


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _find(node: yaml.Node | None, path: str) -> tuple[yaml.Node, int] | None:
    """The node and the line that a path leads to, or that the part of it does which is there."""
    found = None
    for step in path.split("."):
        key, value = _child(node, step)
        if key is None or value is None:
            break
        node, found = value, (value, key.start_mark.line + 1)
    return found


def _child(node: yaml.Node | None, step: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """What a child is called by, and the child itself; an item of a list has no name of its own."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), (None, None))
    if isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        return node.value[int(step)], node.value[int(step)]
    return None, None
