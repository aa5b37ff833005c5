from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import GpuNotSupported, InvalidGpuPreference
from catalog.gpus import GPU_TYPES, GpuShape
from router.variants import MAX_PREFERENCES, eligible, preferred_shapes
from tests.unit.builders import EMBEDDER, target

shapes = st.builds(GpuShape, st.sampled_from(GPU_TYPES), st.integers(1, 64)).map(str) | st.just("CPU")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | shapes,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(wishes=st.lists(shapes, min_size=1, max_size=MAX_PREFERENCES))
def test_header_and_body_mean_the_same(wishes: list[str]) -> None:
    expected = tuple(wishes)
    assert preferred_shapes(None, wishes) == expected
    assert preferred_shapes(", ".join(wishes), None) == expected
    assert preferred_shapes(",".join(wishes), wishes) == expected


@given(header=st.none() | st.text(max_size=30), body=json_values)
def test_any_wish_is_read_or_refused_and_nothing_else(header: str | None, body: object) -> None:
    try:
        found = preferred_shapes(header, body)
    except InvalidGpuPreference:
        return
    assert all(str(GpuShape.parse(shape)) == shape for shape in found)
    assert len(found) <= MAX_PREFERENCES


@pytest.mark.parametrize(
    ("header", "body"), [(None, None), ("auto", None), (None, "auto"), (None, ["auto"]), (" auto ", "auto")]
)
def test_auto_is_no_wish(header: str | None, body: object) -> None:
    assert preferred_shapes(header, body) == ()


def test_two_spellings_of_a_shape_are_the_same_wish() -> None:
    assert preferred_shapes("H100:1", "H100") == ("H100",)


@pytest.mark.parametrize(
    ("header", "body"), [("H100", "A100"), ("auto", "H100"), ("H100", ["auto"]), ("H100,A100", ["A100", "H100"])]
)
def test_header_and_body_that_differ_are_refused(header: str, body: object) -> None:
    with pytest.raises(InvalidGpuPreference, match="differ"):
        preferred_shapes(header, body)


@pytest.mark.parametrize(
    "body", ["", "h100", "V100", [], [""], ["H100", "auto"], ["H100", 1], 5, True, {}, ["H100"] * 17, "H100" * 1000]
)
def test_a_malformed_wish_is_refused_with_what_is_allowed(body: object) -> None:
    with pytest.raises(InvalidGpuPreference, match="gpu_preference") as caught:
        preferred_shapes(None, body)
    assert len(caught.value.message) < 200


def test_an_empty_header_is_refused() -> None:
    with pytest.raises(InvalidGpuPreference):
        preferred_shapes("", None)


def test_without_a_wish_every_variant_serves_in_the_order_of_the_configuration() -> None:
    assert [v.settings.shape for v in eligible(target(), ())] == ["CPU", "H100:4"]


def test_a_wish_decides_the_order_and_drops_the_rest() -> None:
    assert [v.settings.shape for v in eligible(target(), ("A100", "H100:4", "CPU"))] == ["H100:4", "CPU"]
    assert [v.settings.shape for v in eligible(target(), ("H100:4",))] == ["H100:4"]


def test_a_shape_of_another_count_is_another_shape() -> None:
    with pytest.raises(GpuNotSupported):
        eligible(target(), ("H100", "H100:2"))


def test_a_wish_that_no_variant_meets_is_told_what_there_is() -> None:
    with pytest.raises(GpuNotSupported, match=r"embedder runs on CPU, not on H100, A10G") as caught:
        eligible(target(EMBEDDER), ("H100", "A10G"))
    assert caught.value.param == "gpu_preference"
