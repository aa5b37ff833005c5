"""The project's own habits: workflows, hooks, and one version in every place that names it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog.project import PROJECT
from tests.deploy.conftest import Validators

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.y*ml"))
HOOKS = PROJECT / ".pre-commit-config.yaml"


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_follow_the_schema(validators: Validators, path: Path) -> None:
    validators.accept("check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)


def test_dependabot_follows_the_schema(validators: Validators) -> None:
    validators.accept(
        "check-jsonschema", "--builtin-schema", "vendor.dependabot", PROJECT / ".github" / "dependabot.yml"
    )


def test_the_auditor_finds_nothing(validators: Validators) -> None:
    """Unpinned actions, template injection, credentials that stay, permissions that are too wide."""
    validators.accept("zizmor", "--offline", "--no-progress", "--quiet", PROJECT / ".github")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_no_more_than_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == {"contents": "read"}, name
        assert job["timeout-minutes"] <= 90


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version_beside(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in uses)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_exists(path: Path) -> None:
    for step in steps(path):
        words = step.get("run", "").split()
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)} <= make_targets()
        for word in words:
            if re.fullmatch(r"(requirements|\.ci)/\S+", word):
                assert (PROJECT / word).is_file()


def test_hooks_are_valid(validators: Validators) -> None:
    validators.accept("pre-commit", "validate-config", HOOKS)


def test_hooks_run_the_tools_of_the_lock() -> None:
    checks = (PROJECT / "Makefile").read_text()
    for hook in yaml.safe_load(HOOKS.read_text())["repos"][0]["hooks"]:
        assert hook["language"] in ("system", "pygrep")
        if hook["language"] == "system":
            assert hook["entry"].startswith(".venv/bin/")
            tool = hook["entry"].removeprefix(".venv/bin/python -m ").removeprefix(".venv/bin/").split()[0]
            assert tool in checks, f"`make check` or `make test` does not use {tool}"


def test_the_secrets_hook_knows_keys_and_lets_the_tests_pass(tmp_path: Path) -> None:
    hooks = yaml.safe_load(HOOKS.read_text())["repos"][0]["hooks"]
    pattern = re.compile(next(hook["entry"] for hook in hooks if hook["id"] == "secrets"))
    assert pattern.search("AWS_KEY=AKIA" + "A" * 16)
    assert pattern.search("-----BEGIN RSA PRIVATE" + " KEY-----")
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, timeout=30)
    names = tracked.stdout.split() or pytest.skip("not a checkout of git")
    texts = (PROJECT / name for name in names if Path(name).suffix in (".py", ".md", ".yaml", ".sh", ".toml", ".json"))
    found = [path.name for path in texts if path.exists() and pattern.search(path.read_text(errors="replace"))]
    assert found == []


def test_every_place_names_the_same_version() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    written = re.findall(r'^__version__ = "(.+)"', (PROJECT / "raymux" / "__init__.py").read_text(), re.MULTILINE)
    assert set(written) <= {version}
    compose = (PROJECT / "deploy" / "docker" / "compose.yaml").read_text()
    gpu = (PROJECT / "deploy" / "docker" / "compose.gpu.yaml").read_text()
    kustomization = yaml.safe_load((PROJECT / "deploy" / "kuberay" / "kustomization.yaml").read_text())
    assert f"image: raymux:{version}-cpu" in compose
    assert f"image: raymux:{version}-gpu" in gpu
    assert kustomization["images"][0]["newTag"] == f"{version}-gpu"


def test_the_changelog_has_room_for_what_is_not_released() -> None:
    sections = re.findall(r"^## \[(.+?)\]", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"
    assert len(sections) == len(set(sections))


def test_rays_version_is_one_everywhere() -> None:
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    version = next(each.partition("==")[2] for each in extras["server"] if each.startswith("ray["))
    service = yaml.safe_load((PROJECT / "deploy" / "kuberay" / "rayservice.yaml").read_text())
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == version
