"""The code that pages show, and whether it can be run where the tests are.

A block of shell commands is run when all it does is to call `curl` on the server's address, or `raymux`; a block of
Python when it names the address or uses the client library, together with the blocks before it that it goes on from.
One that looks like that and cannot run says why in a comment before it: `<!-- not run: needs a key of a provider -->`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
ADDRESS = "http://127.0.0.1:8000"
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]

# What a block may call besides, to have something to send.
_HELPERS = {"cat", "echo"}
_FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>.+?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>bash|python)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Snippet(NamedTuple):
    """One block of code; `reason` says why it is not run, and is empty where it is."""

    page: str
    line: int
    language: str
    code: str
    reason: str

    @property
    def asks(self) -> bool:
        """Whether it speaks to a server, or is a command of ours."""
        if self.language == "python":
            return ADDRESS in self.code or "raymux" in self.code
        return ADDRESS in self.code or "raymux" in _commands(self.code)

    @property
    def can_run(self) -> bool:
        return (
            self.asks
            and not self.reason
            and (self.language == "python" or _commands(self.code) <= {"curl", "raymux", *_HELPERS})
        )

    def at(self, url: str) -> str:
        """The code for a server at another address."""
        return self.code.replace(ADDRESS, url)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets() -> list[Snippet]:
    """All of them, in the order of the pages; what pages repeat is there once."""
    found: dict[tuple[str, str], Snippet] = {}
    for page in PAGES:
        for snippet in _of(page):
            found.setdefault((snippet.language, snippet.code), snippet)
    return list(found.values())


def _of(page: Path) -> Iterator[Snippet]:
    text = page.read_text(encoding="utf-8")
    before = ""
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("indent")) + 1
        code = textwrap.dedent(found["code"])
        if found["language"] == "python":
            goes_on = "import" not in code
            before = code = f"{before}\n{code}" if goes_on else code
        yield Snippet(str(page.relative_to(PROJECT)), line, found["language"], code, found["reason"] or "")


def _commands(code: str) -> set[str]:
    """The commands of a shell script without control flow, those behind a pipe included."""
    # What quotes and here-documents hold is no command, though it may have lines of its own.
    plain = re.sub(r"<<'(\w+)'.*?^\1$", "", code, flags=re.MULTILINE | re.DOTALL)
    plain = re.sub(r"'[^']*'|\"[^\"]*\"", "''", plain.replace("\\\n", " "))
    lines = [re.sub(r"(^|\s)#.*", "", line) for line in plain.splitlines()]
    return {part.split()[0] for line in lines for part in line.split("|") if part.strip()}
