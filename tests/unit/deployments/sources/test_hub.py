from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from catalog.source_cache import SourceCacheSettings
from catalog.sources import SourceRefused, SourceUnavailable
from deployments.sources import hub
from deployments.sources.bring import Sources
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import FILES

COMMIT = "a" * 40


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Of a node that has nothing from any hub."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return monkeypatch


def sources_at(tmp_path: Path) -> Sources:
    return Sources(SourceCacheSettings(folder=str(tmp_path / "cache")))


def files_at(location: str) -> dict[str, bytes]:
    folder = Path(location)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def publish(site: Site, files: dict[str, bytes]) -> None:
    """What a hub answers about acme/pirate, as of huggingface_hub 2.4."""
    api, json_type = "/api/models/acme/pirate", {"content-type": "application/json"}
    info = {"id": "acme/pirate", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
    tree = [{"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in files.items()]
    site.answers[f"{api}/revision/main"] = 200, {**json_type}, json.dumps(info).encode()
    site.answers[f"{api}/tree/{COMMIT}?recursive=true&expand=false"] = 200, {**json_type}, json.dumps(tree).encode()
    for name, content in files.items():
        headers: dict[str, str | None] = {"etag": f'"{hashlib.sha1(content).hexdigest()}"', "x-repo-commit": COMMIT}
        site.answers[f"/acme/pirate/resolve/{COMMIT}/{name}"] = 200, headers, content


async def test_a_repository_comes_without_its_pickles(
    site: Site, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """The hub's own library, in a process of its own, against a hub on loopback."""
    publish(site, {**FILES, "adapter_model.bin": b"pickle", "README.md": b"#"})
    environment.setenv("HF_ENDPOINT", site.url)
    sources = sources_at(tmp_path)
    # An engine sets it for itself later; the node's environment was another one.
    environment.setenv("HF_HUB_OFFLINE", "1")
    held = await sources.bring("hf://acme/pirate")
    assert files_at(held.location) == FILES
    assert not [path for path in site.asked if path.endswith((".bin", ".md"))]
    with pytest.raises(SourceRefused, match="may be fetched"):
        await sources.bring("hf://acme/pirate", most_bytes=10)
    site.answers["/api/models/acme/none/revision/main"] = 404, {"x-error-code": "RepoNotFound"}, b"{}"
    with pytest.raises(SourceRefused, match="no such repository"):
        await sources.bring("hf://acme/none")


async def test_a_hub_that_fails_leaves_what_is_here_of_it(
    site: Site, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("HF_ENDPOINT", site.url)
    site.answers["/api/models/acme/pirate/revision/main"] = 500, {}, b"{}"
    sources = sources_at(tmp_path)
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        await sources.bring("hf://acme/pirate")
    hub_cache(tmp_path / "home", FILES)
    assert files_at((await sources.bring("hf://acme/pirate")).location) == FILES


def test_a_hub_is_asked_for_served_files_of_one_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict] = []

    def snapshot_download(repository: str, *, dry_run: bool = False, **wishes: object) -> object:
        asked.append({"repository": repository, **wishes})
        return [] if dry_run else str(tmp_path)

    (tmp_path / "final").mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert hub.fetch("acme/pirate", "v1", "final", 10**9) == str(tmp_path / "final")
    assert {(wish["repository"], wish["revision"]) for wish in asked} == {("acme/pirate", "v1")}
    patterns = asked[0]["allow_patterns"]
    assert "final/*.safetensors" in patterns
    assert not [pattern for pattern in patterns if pattern.endswith((".bin", ".pt", ".py", "*"))]
    with pytest.raises(SourceRefused, match="no such folder"):
        hub.fetch("acme/pirate", "v1", "nothing", 10**9)


def test_a_repository_that_is_too_large_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Planned:
        file_size = 10**9

    def snapshot_download(repository: str, *, dry_run: bool = False, **_: object) -> object:
        assert dry_run
        return [Planned(), Planned()]

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(SourceRefused, match="may be fetched"):
        hub.fetch("acme/large", None, "", 10**9)


def hub_cache(home: Path, files: dict[str, bytes]) -> None:
    """What the hub's library leaves in HF_HOME."""
    repository = home / "hub" / "models--acme--pirate"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    for name, content in files.items():
        path = repository / "snapshots" / ("0" * 40) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def test_offline_a_hubs_files_come_from_its_own_cache_or_not_at_all(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """A real process with the hub's real library; it needs no network, for it is offline."""
    environment.setenv("HF_HUB_OFFLINE", "1")
    sources = sources_at(tmp_path)
    with pytest.raises(SourceUnavailable, match="HF_HUB_OFFLINE"):
        await sources.bring("hf://acme/pirate")
    hub_cache(tmp_path / "home", FILES)
    assert files_at((await sources.bring("hf://acme/pirate")).location) == FILES
    shutil.rmtree(tmp_path / "home")
    hub_cache(tmp_path / "home", {"adapter_config.json": FILES["adapter_config.json"]})
    with pytest.raises(SourceRefused, match="pickled weights"):
        await sources.bring("hf://acme/pirate")
