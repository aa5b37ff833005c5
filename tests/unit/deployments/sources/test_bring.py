from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from catalog.project import PROJECT
from catalog.source_cache import SourceCacheSettings
from catalog.sources import FetchError, SourceRefused, SourceUnavailable
from deployments.sources.bring import Sources
from tests.unit.deployments.site import Site
from tests.unit.deployments.sources.adapters import FILES, tar, zipped


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(SourceCacheSettings(folder=str(tmp_path / "cache")))


def files_at(location: str) -> dict[str, bytes]:
    folder = Path(location)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def serve(site: Site, path: str, content: bytes = b"", status: int = 200, **headers: str) -> str:
    site.answers[path] = status, {name.replace("_", "-"): value for name, value in headers.items()}, content
    return f"{site.url}{path}"


async def test_what_is_here_is_only_located(sources: Sources, tmp_path: Path) -> None:
    held = await sources.bring("models/adapters/job_pirate")
    assert held.location == str(PROJECT / "models/adapters/job_pirate")
    assert (await sources.bring("acme/base")).location == "acme/base"
    assert not (tmp_path / "cache").exists()
    held.release()


@pytest.mark.parametrize(("name", "content"), [("a.tar.gz", tar()), ("a.zip", zipped()), ("a.tar", tar(mode="w"))])
async def test_an_archive_is_fetched_once_and_unpacked(site: Site, sources: Sources, name: str, content: bytes) -> None:
    url = serve(site, f"/adapters/{name}", content)
    locations = {(await sources.bring(url)).location for _ in range(2)}
    assert site.asked == [f"/adapters/{name}"]
    assert files_at(locations.pop()) == FILES
    assert not locations


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, SourceRefused),
        (403, SourceRefused),
        (204, SourceRefused),
        (500, SourceUnavailable),
        (429, SourceUnavailable),
    ],
)
async def test_a_servers_refusal_is_final_and_its_failure_is_not(
    site: Site, sources: Sources, status: int, error: type[FetchError]
) -> None:
    url = serve(site, "/a.tar.gz", status=status)
    with pytest.raises(error, match=f"its server answered {status}") as caught:
        await sources.bring(url)
    assert site.url not in caught.value.for_callers
    serve(site, "/a.tar.gz", tar())
    assert files_at((await sources.bring(url)).location) == FILES


async def test_a_download_that_breaks_off_begins_again(site: Site, sources: Sources, tmp_path: Path) -> None:
    url = serve(site, "/a.tar.gz", tar()[:100], content_length=str(len(tar())))
    with pytest.raises(SourceUnavailable, match="broke off"):
        await sources.bring(url)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    serve(site, "/a.tar.gz", tar())
    assert files_at((await sources.bring(url)).location) == FILES


async def test_no_server_is_no_files(site: Site, sources: Sources) -> None:
    url = f"{site.url}/a.tar.gz"
    site.shutdown()
    site.server_close()
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        await sources.bring(url)


async def test_a_redirection_is_followed_on_the_same_server_only(site: Site, sources: Sources) -> None:
    serve(site, "/real/a.tar.gz", tar())
    url = serve(site, "/a.tar.gz", status=302, location="/real/a.tar.gz")
    assert files_at((await sources.bring(url)).location) == FILES
    for number, elsewhere in enumerate(
        [
            site.url.replace("127.0.0.1", "localhost"),
            "http://169.254.169.254/latest",
            f"http://127.0.0.1:{site.server_port + 1}/a",
            site.url.replace("http://", "http://user:pw@"),
            "file:///etc/passwd",
        ]
    ):
        url = serve(site, f"/{number}.tar.gz", status=302, location=elsewhere)
        with pytest.raises(SourceRefused, match="redirects to"):
            await sources.bring(url)
    url = serve(site, "/round.tar.gz", status=302, location="/round.tar.gz")
    with pytest.raises(SourceRefused, match="too often"):
        await sources.bring(url)


async def test_a_name_that_leads_to_a_clouds_metadata_is_not_asked(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: [address])
    with pytest.raises(SourceRefused, match="nothing is fetched from the address"):
        await sources.bring("http://models.example/a.tar.gz")


@pytest.mark.parametrize("length", ["100000", None])
async def test_an_archive_larger_than_allowed_is_not_downloaded(
    site: Site, sources: Sources, tmp_path: Path, length: str | None
) -> None:
    site.answers["/a.tar"] = 200, {"content-length": length}, bytes(100_000)
    with pytest.raises(SourceRefused, match="may be fetched"):
        await sources.bring(f"{site.url}/a.tar", most_bytes=50_000)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


class Bucket(MemoryFileSystem):
    """fsspec's own file system in memory, by the scheme of a bucket."""

    protocol = "s3"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr("deployments.sources.buckets.fsspec.filesystem", lambda scheme, **_: bucket)
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])
    bucket = Bucket(skip_instance_cache=True)
    return bucket


async def test_a_buckets_folder_is_fetched_without_its_pickles(sources: Sources, bucket: Bucket) -> None:
    for name, content in {**FILES, "optimizer.pt": b"pickle", "more/tokenizer.json": b"{}"}.items():
        bucket.pipe_file(f"models/jobs/7/{name}", content)
    bucket.pipe_file("models/jobs/77/other.json", b"{}")
    held = await sources.bring("s3://models/jobs/7")
    assert files_at(held.location) == {**FILES, "more/tokenizer.json": b"{}"}


async def test_an_empty_place_in_a_bucket_is_refused(sources: Sources, bucket: Bucket) -> None:
    with pytest.raises(SourceRefused, match="nothing"):
        await sources.bring("s3://models/jobs/7")
    bucket.pipe_file("models/jobs/7/adapter_model.bin", b"pickle")
    with pytest.raises(SourceRefused, match="pickled weights are not loaded"):
        await sources.bring("s3://models/jobs/7")


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        (PermissionError("Access Denied"), SourceRefused, "does not let this node read it"),
        (FileNotFoundError("The specified bucket does not exist"), SourceRefused, "does not exist"),
        (TimeoutError(), SourceUnavailable, "cannot be read just now"),
        (RuntimeError("a driver's own"), SourceUnavailable, "RuntimeError"),
    ],
)
async def test_a_drivers_errors_are_told_apart(
    sources: Sources, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, failure: Exception, error: type, said: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(bucket, "find", fail)
    with pytest.raises(error, match=said):
        await sources.bring("s3://models/jobs/7")


async def test_a_missing_driver_is_named(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str, **_: object) -> None:
        raise ImportError(scheme)

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(SourceRefused, match="package gcsfs"):
        await sources.bring("gs://models/jobs/7")
