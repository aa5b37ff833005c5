from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.wire import (
    Usage,
    decode_adapter,
    decode_usage,
    encode_adapter,
    encode_usage,
    strip_trailer,
    usage_trailer,
)
from tests.unit.builders import PIRATE, adapter

tokens = st.integers(0, 10**9)
# Tenths, since that is what the wire keeps.
times_ms = st.integers(0, 10**8).map(lambda tenths: tenths / 10)
usages = st.builds(Usage, tokens, tokens, times_ms, times_ms, st.none() | tokens)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
events = st.one_of(
    json_values.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
    st.just(b"data: [DONE]\n\n"),
    st.just(b": a comment\n\n"),
    st.just(b"\n"),
)
streams = st.lists(events, max_size=5).map(b"".join)


@given(usage=usages)
def test_usage_survives_the_header(usage: Usage) -> None:
    assert decode_usage(encode_usage(usage)) == usage


@given(value=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_else_in_the_header_is_no_usage(value: bytes) -> None:
    found = decode_usage(value)
    if found is not None:
        assert all(isinstance(number, int | float) for number in found)


@given(stream=streams, usage=usages)
def test_a_trailer_is_stripped_and_nothing_else(stream: bytes, usage: Usage) -> None:
    assert strip_trailer(stream + usage_trailer(usage)) == (stream, usage)


@given(stream=streams)
def test_a_stream_without_a_trailer_passes_unchanged(stream: bytes) -> None:
    assert strip_trailer(stream) == (stream, None)


@given(stream=streams, usage=usages, data=st.data())
def test_a_piece_of_a_stream_loses_no_client_data_wherever_it_is_cut(stream: bytes, usage: Usage, data) -> None:
    whole = stream + usage_trailer(usage)
    cut = data.draw(st.integers(0, len(whole)))
    passed = b"".join(strip_trailer(piece)[0] for piece in (whole[:cut], whole[cut:]))
    assert passed.startswith(stream)
    # What is left of a trailer that was cut is a comment, which clients skip.
    assert whole.startswith(passed)


@given(chunk=st.binary(max_size=300))
def test_arbitrary_bytes_are_passed_on(chunk: bytes) -> None:
    assert strip_trailer(chunk) == (chunk, None)


@pytest.mark.parametrize(
    "chunk",
    [
        b'data: : raymux {"usage": [1, 2, 3, 4]}\n\n',
        b'data: {"text": ": raymux {\\"usage\\": [1, 2, 3, 4]}\\n\\n"}\n\n',
        b': raymux {"usage": [1, 2, 3, 4]}\n\ndata: [DONE]\n\n',
        b': raymux {"usage": [1, 2, 3, 4, 5, 6]}\n\n',
        b': raymux {"usage": [1, 2, 3, 4, "5"]}\n\n',
        b': raymux {"usage": [1, 2, 3, null, 5]}\n\n',
        b': raymux {"usage": 5}\n\n',
        b': raymux {"usage": null}\n\n',
        b": raymux {}\n\n",
        b": raymux {broken}\n\n",
        b': raymux {"usage": [1, 2, 3, 4]}\n',
        b': raymux {"usage": [1, 2, 3, 4]}',
        b"",
    ],
)
def test_what_only_looks_like_a_trailer_reaches_the_client(chunk: bytes) -> None:
    assert strip_trailer(chunk) == (chunk, None)


def test_a_trailer_is_a_comment_to_an_sse_client() -> None:
    trailer = usage_trailer(Usage(1, 2, 3.0, 4.0))
    assert trailer.startswith(b":")
    assert trailer.endswith(b"\n\n")
    assert trailer.count(b"\n") == 2


def test_a_replica_of_an_earlier_version_counts_no_cached_tokens() -> None:
    assert strip_trailer(b': raymux {"usage": [1, 2, 3, 4]}\n\n') == (b"", Usage(1, 2, 3, 4, None))
    assert decode_usage(b"[1, 2, 3, 4]") == Usage(1, 2, 3, 4, None)


def test_an_adapter_survives_the_header() -> None:
    spec = adapter(PIRATE)
    assert decode_adapter(encode_adapter(spec)) == spec
    assert b"\n" not in encode_adapter(spec)
