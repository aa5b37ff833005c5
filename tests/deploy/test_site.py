"""The documentation site builds without a dead link, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.project import PROJECT


def build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", folder],
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(PROJECT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    for page in (PROJECT / "docs").rglob("*.md"):
        built = page.relative_to(PROJECT / "docs")
        name = "index.html" if built.name in ("README.md", "index.md") else f"{built.stem}.html"
        assert (site / built.parent / name).is_file(), built


def test_links_into_the_repository_lead_to_pages_of_the_site(site: Path) -> None:
    assert "repository/examples/gpu_cluster.yaml" in (site / "how_to" / "gpu_cluster.html").read_text()
    assert (site / "repository" / "examples" / "gpu_cluster.yaml").read_bytes() == (
        PROJECT / "examples" / "gpu_cluster.yaml"
    ).read_bytes()
    assert (site / "repository" / "CONTRIBUTING.html").is_file()


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//[^\"]+\""
    )
    for page in site.rglob("*.html"):
        assert not loaded.search(page.read_text()), page


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# One\n\nSee [two](two.md) and [three](#three).\n")
    text = (PROJECT / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(
        re.sub(r"^nav:.*", "nav: [index.md]\n", text, flags=re.MULTILINE | re.DOTALL).replace(
            "hooks: [docs/_site/repository.py]\n", ""
        )
    )
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "two.md" in done.stderr
    assert "#three" in done.stderr
