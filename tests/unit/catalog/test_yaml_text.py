from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from catalog import yaml_text
from catalog.sources import PROJECT
from catalog.yaml_text import load_yaml

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(value=values)
def test_a_document_is_read_as_pyyaml_reads_it(value: Any) -> None:
    text = yaml.safe_dump(value)
    assert load_yaml(text) == yaml.safe_load(text) == value


def test_the_embedded_configuration_is_read_as_pyyaml_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "serve_config.yaml").read_text()
    assert load_yaml(text) == yaml.safe_load(text)
    monkeypatch.setattr(yaml_text, "CParser", None)
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["[" * 1_000_000, "- " * 1_000_000, "{a: " * 1_000_000])
def test_deep_nesting_is_an_error_and_not_the_end_of_the_process(text: str) -> None:
    with pytest.raises(RecursionError):
        load_yaml(text)


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "!!python/object:os.system {}", "&a [*b]", "\tx: 1", "a: \x07"])
def test_what_pyyaml_refuses_is_refused(text: str) -> None:
    for load in (yaml.safe_load, load_yaml):
        with pytest.raises(yaml.YAMLError):
            load(text)
