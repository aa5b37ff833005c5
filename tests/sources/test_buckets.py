"""Sources in buckets, from a server that speaks S3, by the driver that nodes use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.source_cache import SourceCacheSettings
from catalog.sources import SourceRefused, SourceUnavailable
from deployments.sources.bring import Sources
from tests.unit.deployments.sources.adapters import FILES

BUCKET = "adapters-of-tests"


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The driver's file system, with the environment that a node would have."""
    import s3fs

    environment = {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    return files


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(SourceCacheSettings(folder=str(tmp_path / "cache")))


def files_at(location: str) -> dict[str, bytes]:
    folder = Path(location)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_folder_comes_whole_and_without_its_pickles(s3: Any, sources: Sources) -> None:
    for name, content in {**FILES, "optimizer.pt": b"pickle", "more/tokenizer.json": b"{}"}.items():
        s3.pipe_file(f"{BUCKET}/jobs/7/{name}", content)
    s3.pipe_file(f"{BUCKET}/jobs/77/other.json", b"{}")
    held = await sources.bring(f"s3://{BUCKET}/jobs/7/")
    assert files_at(held.location) == {**FILES, "more/tokenizer.json": b"{}"}


async def test_a_change_is_seen_after_a_failure(s3: Any, sources: Sources) -> None:
    """What the driver remembers of a folder does not outlive the fetch."""
    source = f"s3://{BUCKET}/jobs/late"
    with pytest.raises(SourceRefused, match="nothing"):
        await sources.bring(source)
    s3.pipe_file(f"{BUCKET}/jobs/late/adapter_config.json", FILES["adapter_config.json"])
    with pytest.raises(SourceRefused, match="pickled weights are not loaded"):
        await sources.bring(source)
    s3.pipe_file(f"{BUCKET}/jobs/late/adapter_model.safetensors", FILES["adapter_model.safetensors"])
    assert files_at((await sources.bring(source)).location) == FILES


async def test_a_bucket_that_does_not_exist_is_refused(s3: Any, sources: Sources) -> None:
    with pytest.raises(SourceRefused, match="its bucket"):
        await sources.bring("s3://no-such-bucket-here/jobs/7")


async def test_a_node_without_credentials_is_told_so_by_the_drivers_word(
    s3: Any, sources: Sources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises((SourceUnavailable, SourceRefused)) as caught:
        await sources.bring(f"s3://{BUCKET}/jobs/secret")
    assert BUCKET not in str(caught.value)
