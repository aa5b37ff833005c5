"""The forms of a model name: `<base>`, `peft:<base>:<job>` and `rl:<base>:<job>[:<checkpoint>]`.

Matching is exact and case-sensitive everywhere. Names of jobs and checkpoints never become paths: a name is looked up
in the catalog, and only the catalog's entry says where files are.
"""

from __future__ import annotations

import difflib
import heapq
import itertools
import re
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

MAX_NAME_CHARS = 256
# Comparing a wrong name with each of a thousand takes ten milliseconds to a hundred, for which its caller would block.
MAX_COMPARED = 30
MAX_COUNTED = 10_000

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"
_BASE = re.compile(rf"{_PART}(?:/{_PART})?")
_JOB = re.compile(_PART)


class ParsedName(NamedTuple):
    """A name taken apart; `job` and `checkpoint` are None where the form has none."""

    kind: Literal["base", "peft", "rl"]
    base: str
    job: str | None = None
    checkpoint: str | None = None


def parse_name(name: str) -> ParsedName:
    """Take a name apart. Raises ValueError when it has none of the three forms."""
    if len(name) > MAX_NAME_CHARS:
        raise ValueError(f"a model name has at most {MAX_NAME_CHARS} characters")
    kind, *parts = name.split(":")
    if not parts:
        return ParsedName("base", _matching(_BASE, kind, "a model"))
    if kind == "peft" and len(parts) == 2:
        return ParsedName("peft", _matching(_BASE, parts[0], "a base model"), _matching(_JOB, parts[1], "a job"))
    if kind == "rl" and len(parts) in (2, 3):
        base, job, *checkpoint = parts
        return ParsedName(
            "rl",
            _matching(_BASE, base, "a base model"),
            _matching(_JOB, job, "a job"),
            _matching(_JOB, checkpoint[0], "a checkpoint") if checkpoint else None,
        )
    raise ValueError("a name is <base>, peft:<base>:<job> or rl:<base>:<job>[:<checkpoint>]")


def _matching(pattern: re.Pattern[str], part: str, what: str) -> str:
    if ".." in part or not pattern.fullmatch(part):
        raise ValueError(
            f"the name of {what} is letters, digits, '.', '_' and '-', starts and ends with a letter or digit"
            " (a base model may hold one '/')"
        )
    return part


def _checked(kinds: tuple[str, ...]):
    def check(name: str) -> str:
        if parse_name(name).kind not in kinds:
            raise ValueError(f"expected a name of the form {' or '.join(_FORMS[kind] for kind in kinds)}")
        return name

    return AfterValidator(check)


_FORMS = {"base": "<base>", "peft": "peft:<base>:<job>", "rl": "rl:<base>:<job>:<checkpoint>"}

BaseName = Annotated[str, _checked(("base",))]
AdapterName = Annotated[str, _checked(("peft",))]
CheckpointName = Annotated[str, _checked(("rl",))]


def closest_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` known names that a caller may have meant, best first; empty when none is near.

    Near means: equal but for case, one the beginning of the other, or alike by difflib's ratio of at least 0.6, by
    which those 30 are compared that share most pairs of letters with it for their length (of the first 10,000).
    """
    wanted = name[:MAX_NAME_CHARS].lower()
    by_lower = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
    starts = [low for low in by_lower if wanted and (low.startswith(wanted) or wanted.startswith(low))]
    pairs = {wanted[begin : begin + 2] for begin in range(len(wanted) - 1)}
    likely = heapq.nlargest(
        MAX_COMPARED,
        itertools.islice(by_lower, MAX_COUNTED),
        key=lambda low: sum(pair in low for pair in pairs) / (len(low) + len(wanted)),
    )
    alike = difflib.get_close_matches(wanted, likely, n=count, cutoff=0.6)
    exact = [wanted] if wanted in by_lower else []
    ranked = dict.fromkeys([*exact, *alike, *sorted(starts, key=len)])
    return [by_lower[low] for low in list(ranked)[:count]]
