from __future__ import annotations

from typing import Any

import pytest

from catalog.catalog import Catalog
from catalog.errors import InvalidRequest
from catalog.models import AdapterSettings, CheckpointSettings, ModelSettings
from catalog.registry import parse_entry, with_entries, with_fitting_entries
from tests.unit.builders import CHAT, PIRATE, catalog_dict, catalog_settings

ADAPTER = {"name": "peft:demo-chat:job_new", "source": "models/x"}
CHECKPOINT = {"name": "rl:demo-chat:job_new:step-1", "source": "models/x"}
BASE = {"name": "new-model", "source": "models/x", "variants": [{"shape": "CPU"}]}


@pytest.mark.parametrize(
    ("fields", "cls"), [(ADAPTER, AdapterSettings), (CHECKPOINT, CheckpointSettings), (BASE, ModelSettings)]
)
def test_the_form_of_the_name_says_what_an_entry_is(fields: dict[str, Any], cls: type) -> None:
    entry = parse_entry(fields)
    assert isinstance(entry, cls)
    assert parse_entry(entry.model_dump(mode="json")) == entry


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "name"),
        ({"name": 3}, "name"),
        ({"name": "peft:a:../b", "source": "x"}, "name"),
        ({"name": "peft:demo-chat:x"}, "source"),
        ({**ADAPTER, "colour": 1}, "colour"),
        ({"name": "rl:demo-chat:job_new", "source": "x"}, ""),
        ({**BASE, "variants": []}, "variants"),
        ({**BASE, "variants": [{"shape": "h100"}]}, "variants.0.shape"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_entry(fields)
    assert caught.value.param == param


def test_an_entry_joins_the_configuration() -> None:
    merged = with_entries(catalog_settings(), [parse_entry(each) for each in (BASE, ADAPTER, CHECKPOINT)])
    catalog = Catalog(merged)
    assert {BASE["name"], ADAPTER["name"], CHECKPOINT["name"], CHAT} <= set(catalog.names)
    assert merged.store == catalog_settings().store


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({**ADAPTER, "name": PIRATE}, "taken already"),
        ({**ADAPTER, "name": "peft:nobody:job"}, "no model is named nobody"),
        ({**BASE, "name": CHAT}, "taken already"),
    ],
)
def test_an_entry_that_does_not_go_with_the_others_says_why(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        with_entries(catalog_settings(), [parse_entry(fields)])


def test_what_no_longer_fits_the_configuration_is_left_out_and_the_rest_stays() -> None:
    entries = {str(each["name"]): parse_entry(each) for each in (BASE, ADAPTER, CHECKPOINT)}
    changed = catalog_settings(adapters=[*catalog_dict()["adapters"], ADAPTER])
    merged, left_out = with_fitting_entries(changed, entries)
    assert list(left_out) == [ADAPTER["name"]]
    assert {BASE["name"], CHECKPOINT["name"]} <= set(Catalog(merged).names)
