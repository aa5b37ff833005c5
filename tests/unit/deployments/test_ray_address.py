from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.loading import ConfigError
from deployments.ray_address import RayAddress, ray_address, require_answer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray keeps its files."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def write(folder: Path, text: str) -> Path:
    file = folder / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text(text)
    return file


def test_without_a_cluster_the_server_starts_its_own() -> None:
    assert ray_address() is None


def test_the_file_of_ray_start_names_the_cluster_to_join(folder: Path) -> None:
    file = write(folder, "127.0.0.1:6379\n")
    assert ray_address() == RayAddress("127.0.0.1:6379", str(file))


@pytest.mark.parametrize(("value", "address"), [("local", None), ("10.0.0.1:6379", "10.0.0.1:6379"), ("", "file:1")])
def test_the_variable_comes_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: str, address: str | None
) -> None:
    write(folder, "file:1")
    monkeypatch.setenv("RAY_ADDRESS", value)
    found = ray_address()
    assert (found.address if found else None) == address


def test_an_empty_file_names_none(folder: Path) -> None:
    write(folder, "\n")
    assert ray_address() is None


def test_a_cluster_that_answers_is_joined(listener: socket.socket) -> None:
    require_answer(RayAddress(f"127.0.0.1:{listener.getsockname()[1]}", "RAY_ADDRESS"))


@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "auto", "https://cluster.example:443", ""])
def test_what_only_ray_can_look_up_is_left_to_it(address: str) -> None:
    require_answer(RayAddress(address, "RAY_ADDRESS"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379", "127.0.0.1:99999"])
def test_a_cluster_that_has_gone_is_told_with_what_names_it(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"no Ray cluster answers at .*, which RAY_ADDRESS names; set RAY_ADDRESS=local"
    ):
        require_answer(RayAddress(address, "RAY_ADDRESS"))
