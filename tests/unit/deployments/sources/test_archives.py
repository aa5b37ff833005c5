from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.sources import SourceRefused
from deployments.sources.archives import layout, unpack
from tests.unit.deployments.sources.adapters import FILES, tar, zipped

MOST_BYTES = 1_000_000


def unpacked(tmp_path: Path, content: bytes, suffix: str) -> dict[str, bytes]:
    archive, folder = tmp_path / f"archive{suffix}", tmp_path / "folder"
    archive.write_bytes(content)
    folder.mkdir()
    try:
        unpack(archive, folder, lambda num_bytes: None, MOST_BYTES)
    finally:
        assert {path.name for path in tmp_path.iterdir()} == {archive.name, "folder"}
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (tar(), ".tar.gz"),
        (tar(mode="w"), ".tar"),
        (tar({f"./job_7/{name}": content for name, content in FILES.items()}), ".tgz"),
        (zipped(), ".zip"),
        (zipped({f"job_7/{name}": content for name, content in FILES.items()}), ".zip"),
    ],
)
def test_a_folder_is_found_at_the_top_or_in_the_only_directory(tmp_path: Path, content: bytes, suffix: str) -> None:
    assert unpacked(tmp_path, content, suffix) == FILES


def test_what_is_not_served_stays_in_the_archive(tmp_path: Path) -> None:
    odd = {"adapter_model.bin": b"pickle", "optimizer.pt": b"pickle", "run.py": b"import os", "._x.json": b"{}"}
    assert unpacked(tmp_path, tar({**FILES, **odd}), ".tar.gz") == FILES


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "a/../../evil.json", "..\\evil.json", "c:evil.json"])
def test_a_path_that_leads_out_condemns_the_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceRefused, match="leads out"):
        unpacked(tmp_path, tar({**FILES, name: b"{}"}), ".tar.gz")
    (tmp_path / "zip").mkdir()
    if "\\" not in name:
        with pytest.raises(SourceRefused, match="leads out"):
            unpacked(tmp_path / "zip", zipped({**FILES, name: b"{}"}), ".zip")


@pytest.mark.parametrize("type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_condemn_a_tar(tmp_path: Path, type_: bytes) -> None:
    info = tarfile.TarInfo("config.json")
    info.type, info.linkname = type_, "/etc/passwd"
    with pytest.raises(SourceRefused, match="links"):
        unpacked(tmp_path, tar(FILES, "w:gz", info), ".tar.gz")


def test_links_condemn_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("config.json")
    info.external_attr = 0o120777 << 16
    with pytest.raises(SourceRefused, match="links"):
        unpacked(tmp_path, zipped(FILES, info), ".zip")


@pytest.mark.parametrize("name", ["bomb.json", "bomb.pkl"])
@pytest.mark.parametrize(("pack", "suffix"), [(tar, ".tar.gz"), (zipped, ".zip")])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, pack, suffix: str, name: str) -> None:
    with pytest.raises(SourceRefused, match="may be fetched"):
        unpacked(tmp_path, pack({**FILES, name: bytes(MOST_BYTES)}), suffix)
    assert not list((tmp_path / "folder").iterdir())


def test_a_zip_that_lies_about_a_size_is_damaged(tmp_path: Path) -> None:
    honest = zipped({"config.json": bytes(1000)})
    lying = honest.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != honest
    with pytest.raises(SourceRefused, match="damaged"):
        unpacked(tmp_path, lying, ".zip")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
@pytest.mark.parametrize("content", [b"", b"no archive at all", tar()[:-40], zipped()[:-40], tar(mode="w")[:700]])
def test_half_an_archive_is_damaged(tmp_path: Path, content: bytes, suffix: str) -> None:
    with pytest.raises(SourceRefused):
        unpacked(tmp_path, content, suffix)


@pytest.mark.parametrize(("pack", "suffix"), [(tar, ".tar.gz"), (zipped, ".zip")])
def test_more_files_than_any_model_has_are_refused(tmp_path: Path, pack, suffix: str) -> None:
    with pytest.raises(SourceRefused, match="more than 10000 files"):
        unpacked(tmp_path, pack({f"{number}.txt": b"" for number in range(10_001)}), suffix)


def test_a_file_that_is_there_twice_is_refused() -> None:
    with pytest.raises(SourceRefused, match="twice"):
        layout(["a.json", "a.json"])
    with pytest.raises(SourceRefused, match="twice"):
        layout(["a.json", "./a.json"])


@given(st.lists(st.text(alphabet="ab./\\_", max_size=12).map(lambda name: f"{name}.json"), max_size=6))
def test_nothing_is_laid_out_outside_of_the_folder(paths: list[str]) -> None:
    try:
        kept = layout(paths)
    except SourceRefused:
        return
    for path in kept.values():
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
