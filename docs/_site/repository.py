"""A hook of mkdocs: what pages link to in the repository is part of the site, and those links lead there.

Pages of `docs/` keep the links that work in a checkout (`../benchmarks/README.md`). Whatever they reach outside of
`docs/`, directly or by such a page, is added under `repository/`. A link to what does not exist is left as it is, and
mkdocs, which is strict here, complains.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "repository/"
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the navigation names outside of `docs/`, what is linked to, and what that links to."""
    named = [ROOT / uri.removeprefix(PREFIX) for uri in _named(config.nav) if uri.startswith(PREFIX)]
    waiting = list(files.documentation_pages())
    waiting += _added([str(path.relative_to(ROOT)) for path in named if path.is_file()], files, config)
    while waiting:
        waiting += _added(_targets(waiting.pop()), files, config)
    return files


def _named(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(each)


def _added(targets: Iterable[str], files: Files, config: MkDocsConfig) -> list[File]:
    """The pages among those that were not there yet."""
    pages = []
    for target in targets:
        uri = _uri(target)
        if files.get_file_from_path(uri) is None:
            # The navigation may name it, and need not.
            level = InclusionLevel.NOT_IN_NAV
            file = File.generated(config, uri, abs_src_path=str(ROOT / target), inclusion=level)
            files.append(file)
            if file.is_documentation_page():
                pages.append(file)
    return pages


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""

    def turned(match: re.Match[str]) -> str:
        link, hash_, anchor = match[0].partition("#")
        target = _target(page.file, link)
        uri = target and _uri(target)
        if not uri:
            return match[0]
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".") + hash_ + anchor

    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(turned, markdown[end : code.start()]), code[0]]
        end = code.end()
    # A link's text may be code, which is a part of its own here: what follows it begins with `](`.
    return "".join([*parts, _LINK.sub(turned, markdown[end:])])


def _targets(file: File) -> Iterator[str]:
    text = _CODE.sub("", Path(str(file.abs_src_path)).read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if target := _target(file, link.partition("#")[0]):
            yield target


def _target(file: File, link: str) -> str | None:
    """Where in the repository a relative link leads; None for another site, an anchor, and what is not there."""
    if not link or "://" in link or link.startswith(("/", "mailto:")):
        return None
    uri = PurePosixPath(file.src_uri)
    folder = uri.parent.relative_to(PREFIX) if file.src_uri.startswith(PREFIX) else "docs" / uri.parent
    target = posixpath.normpath(posixpath.join(folder, link))
    if (ROOT / target).is_dir():
        target = posixpath.join(target, "README.md")
    return target if not target.startswith("..") and (ROOT / target).is_file() else None


def _uri(target: str) -> str:
    """Where the site has a file of the repository."""
    return target.removeprefix("docs/") if target.startswith("docs/") else PREFIX + target
