from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.gpus import CPU, GPU_TYPES, MAX_GPU_COUNT, GpuShape

shapes = st.builds(GpuShape, st.sampled_from(GPU_TYPES), st.integers(1, MAX_GPU_COUNT)) | st.just(CPU)


@given(shape=shapes)
def test_a_shape_reads_back_as_it_was_written(shape: GpuShape) -> None:
    assert GpuShape.parse(str(shape)) == shape


@given(text=st.one_of(st.text(max_size=20), st.from_regex(r"[A-Z0-9]{1,6}:?-?[0-9]{0,4}")))
def test_whatever_parses_has_a_known_type_and_a_bounded_count(text: str) -> None:
    try:
        shape = GpuShape.parse(text)
    except ValueError:
        return
    assert shape == CPU or (shape.type in GPU_TYPES and 1 <= shape.count <= MAX_GPU_COUNT)
    assert text in (str(shape), f"{shape}:1")


def test_one_gpu_is_written_without_its_count() -> None:
    assert str(GpuShape.parse("H100:1")) == "H100"


def test_only_the_cpu_has_no_gpu() -> None:
    assert GpuShape.parse("CPU").is_cpu
    assert not any(GpuShape.parse(gpu).is_cpu for gpu in GPU_TYPES)


@pytest.mark.parametrize(
    "text",
    ["", "auto", "cpu", "h100", "CPU:1", "H100:0", "H100:-1", "H100:01", "H100:65", "H100:1.5", "H100:", ":2",
     "H100:2:2", "H100 :2", " H100", "H100\n", "H100:²", "V100", "A10", "H100," + "H100" * 1000, "H100:" + "9" * 5000],
)  # fmt: skip
def test_another_spelling_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a shape (is CPU, TYPE or TYPE:COUNT|has at most 64)"):
        GpuShape.parse(text)
