"""What an engine or a later start finds is whole, whenever the training before was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.fine_tuning.folders import Folders


def save(folders: Folders, step: int, *, is_whole: bool) -> Path:
    path = folders.state / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text("{}")
    if is_whole:
        folders.mark_whole(step)
    return path


def test_a_training_goes_on_from_the_last_checkpoint_that_is_whole(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    assert folders.last_whole() is None
    save(folders, 9, is_whole=True)
    newest = save(folders, 10, is_whole=True)
    cut = save(folders, 11, is_whole=False)
    assert folders.last_whole() == newest
    assert not cut.exists()


def test_only_what_engines_load_is_published(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        for name in ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "README.md", "model.bin"):
            (folder / name).write_text("x")

    found = Folders(tmp_path).publish(7, write)
    assert found == tmp_path / "checkpoints" / "step-7"
    assert {each.name for each in found.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_what_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError("the disk is full")

    with pytest.raises(OSError):
        Folders(tmp_path).publish(None, write)
    assert not list(tmp_path.rglob("*.json"))


def test_the_same_step_made_again_replaces_what_was_there(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    for text in ("old", "new"):
        found = folders.publish(None, lambda folder, text=text: (folder / "config.json").write_text(text) and None)
    assert found == tmp_path / "result"
    assert (found / "config.json").read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["result"]


def test_what_was_before_the_training_is_kept(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    assert folders.before() is None
    folders.note_before({"answers": ["a"], "validation_loss": 1.5})
    assert Folders(tmp_path).before() == {"answers": ["a"], "validation_loss": 1.5}
