"""Pages of the repository: links lead somewhere, and what they show of configurations is right."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog import errors
from catalog.errors import RaymuxError
from catalog.project import PROJECT
from catalog.settings import CatalogSettings

PAGES = [
    *PROJECT.glob("*.md"),
    *(
        page
        for room in ("docs", "benchmarks", "deploy", "models", "requirements", "tests")
        for page in (PROJECT / room).rglob("*.md")
    ),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of each relative link."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}#{anchor}"


def documents(page: Path, language: str) -> list[Any]:
    return [
        yaml.safe_load(textwrap.dedent(body)) for _, kind, body in FENCE.findall(page.read_text()) if kind == language
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_configurations_in_pages_are_valid(page: Path) -> None:
    for document in documents(page, "yaml"):
        # Others are a part of a configuration, which has to be YAML and no more.
        if isinstance(document, dict) and set(document) <= set(CatalogSettings.model_fields):
            models = document.get("models", ())
            if models and all("source" in model for model in models):
                CatalogSettings.model_validate(document)


def test_every_error_has_a_line_in_troubleshooting() -> None:
    tree = (cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, RaymuxError))
    codes = {cls.code for cls in tree if not cls.__subclasses__()}
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", troubleshooting(), re.MULTILINE))))
    assert codes - told == set()


def troubleshooting() -> str:
    return (PROJECT / "docs" / "troubleshooting.md").read_text()
