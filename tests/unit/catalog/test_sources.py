from __future__ import annotations

from pathlib import Path

import pytest

import catalog.sources
from catalog.sources import SourceNotFound, is_local, locate


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with weights in `models/demo`, and an installed package with weights in `weights`."""
    (tmp_path / "models" / "demo").mkdir(parents=True)
    (tmp_path / "site" / "demo_package_of_raymux" / "weights").mkdir(parents=True)
    (tmp_path / "site" / "demo_package_of_raymux" / "__init__.py").touch()
    monkeypatch.setattr(catalog.sources, "PROJECT", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path


def test_a_relative_folder_starts_at_the_project(project: Path) -> None:
    assert locate("models/demo") == str(project / "models" / "demo")


def test_an_absolute_folder_stays_itself(project: Path) -> None:
    assert locate(str(project / "models")) == str(project / "models")


def test_a_folder_of_an_installed_package_is_found(project: Path) -> None:
    found = locate("package:demo_package_of_raymux/weights")
    assert found == str(project / "site" / "demo_package_of_raymux" / "weights")
    assert is_local(found)


def test_a_hub_id_stays_itself(project: Path) -> None:
    assert locate("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert not is_local("Qwen/Qwen3-0.6B")


@pytest.mark.parametrize(
    "source",
    ["models/dmeo", "./models/demo-x", "nowhere", "a/b/c", "/nowhere", "Qwen/", "package:", "package:json/nowhere",
     "package:no_such_module_of_raymux/x", "package:os.path/x", "package:../x"],
)  # fmt: skip
def test_a_source_that_leads_nowhere_is_named_in_the_error(project: Path, source: str) -> None:
    with pytest.raises(SourceNotFound, match=r"source '"):
        locate(source)


@pytest.mark.parametrize("source", ["models/private", "package:json/private"])
def test_a_caller_is_not_told_the_source(project: Path, source: str) -> None:
    with pytest.raises(SourceNotFound) as caught:
        locate(source)
    assert "private" in str(caught.value)
    assert "private" not in caught.value.for_callers
