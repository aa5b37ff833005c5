"""Sources in Google's buckets: their driver against a server on loopback that answers as they do."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from catalog.source_cache import SourceCacheSettings
from deployments.sources.bring import Sources
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import FILES


def publish(site: Site, files: dict[str, bytes]) -> None:
    """What Google answers about the bucket acme, as of gcsfs 2026.10."""
    objects, json_type = "/storage/v1/b/acme/o", {"content-type": "application/json"}
    entries = {f"jobs/7/{name}": {"name": f"jobs/7/{name}", "size": str(len(files[name]))} for name in files}
    listing = json.dumps({"items": list(entries.values())}).encode()
    site.answers[f"{objects}?delimiter=&prefix=jobs/7/&maxResults=1000"] = 200, {**json_type}, listing
    for name, content in files.items():
        path, entry = f"jobs/7/{name}", json.dumps(entries[f"jobs/7/{name}"]).encode()
        site.answers[f"{objects}/{quote(path, safe='')}"] = 200, {**json_type}, entry
        site.answers[f"{objects}?delimiter=/&prefix={path}/&maxResults=1"] = 200, {**json_type}, b"{}"
        site.answers[f"/download{objects}/{quote(path, safe='')}?alt=media"] = 200, {}, content


async def test_a_folder_comes_whole_and_without_its_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site().open() as site:
        publish(site, {**FILES, "optimizer.pt": b"pickle"})
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", site.url)
        # Nobody outside is asked for credentials.
        for name, value in {"HOME": str(tmp_path), "NO_GCE_CHECK": "true", "GCE_METADATA_HOST": "127.0.0.1:1"}.items():
            monkeypatch.setenv(name, value)
        held = await Sources(SourceCacheSettings(folder=str(tmp_path / "cache"))).bring("gs://acme/jobs/7")
        assert files_at(held.location) == FILES
        assert not [path for path in site.asked if "alt=media" in path and "optimizer.pt" in path]


def files_at(location: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(location).iterdir()}
