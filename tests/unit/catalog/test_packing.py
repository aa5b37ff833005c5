"""A packed configuration is the same one, and much less work for Serve's controller."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from catalog import packing
from catalog.loading import ConfigError, load, unpacked
from catalog.packing import packed, text_of
from catalog.project import PROJECT
from tests.unit.catalog.test_loading import MANAGER_AT, document, read


def catalog_of(document: dict[str, Any]) -> dict[str, Any]:
    return document["applications"][0]["deployments"][1]["user_config"]


def test_a_packed_configuration_is_read_as_the_one_that_it_was(tmp_path: Path) -> None:
    before = read(tmp_path, document())
    after = read(tmp_path, text_of(packed(document())))
    assert (after.catalog, after.gateway, after.host, after.port) == (
        before.catalog, before.gateway, before.host, before.port,
    )  # fmt: skip


def test_only_the_catalog_is_packed_and_the_original_stays(tmp_path: Path) -> None:
    given = document()
    kept = copy.deepcopy(given)
    result = packed(given)
    assert given == kept
    assert all(isinstance(value, str) for value in catalog_of(result).values())
    catalog_of(result).clear()
    catalog_of(kept).clear()
    assert result == kept
    assert packed(packed(given)) == packed(given)


def test_other_applications_stay_as_they_are() -> None:
    other = {"name": "other", "deployments": [{"name": "ModelManager", "user_config": {"a": 1}}]}
    result = packed({"applications": [other, *document()["applications"]]})
    assert result["applications"][0] == other


def test_what_json_does_not_have_is_left_to_serve_to_refuse() -> None:
    given = document()
    catalog_of(given)["models"][0]["engine"]["args"] = {"since": datetime.date(2026, 1, 1)}
    assert packed(given) == given


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_broken_text_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    given = document()
    given["applications"][0]["deployments"][1]["user_config"] = {"packed": text}
    with pytest.raises(ConfigError, match=MANAGER_AT):
        read(tmp_path, given)


def test_a_text_beside_other_fields_is_no_packed_catalog() -> None:
    assert unpacked({"packed": "{}", "models": []}) == {"packed": "{}", "models": []}


def test_the_tool_prints_what_serve_deploy_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert packing.main([str(PROJECT / "serve_config.yaml")]) == 0
    printed = tmp_path / "packed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert load(printed).catalog == load(PROJECT / "serve_config.yaml").catalog
    assert set(catalog_of(yaml.safe_load(printed.read_text()))) == {"packed"}


def test_the_tool_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert packing.main([str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err
    assert packing.main([]) == 2
