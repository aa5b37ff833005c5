from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidRequest
from router.body import _INTEGER_BOUNDS, MAX_DEPTH, MAX_GUIDED_CHOICES, MAX_OBJECTS, Peek, peek, with_model

INT64 = 2**63 - 1
scalars = st.none() | st.booleans() | st.integers(-INT64, INT64) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    scalars | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def refused(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        peek(raw)
    return caught.value


@given(
    raw=st.one_of(
        st.binary(max_size=200), st.text(max_size=100).map(str.encode), st.from_regex(rb'[\[\]{}",:0-9eE.\\ntaN-]*')
    )
)
def test_arbitrary_bytes_are_accepted_or_refused_and_nothing_else(raw: bytes) -> None:
    try:
        found = peek(raw)
    except InvalidRequest:
        return
    body = json.loads(raw)
    assert found == (body.get("model"), bool(body.get("stream")), body.get("gpu_preference"))


@given(value=json_values, ascii_only=st.booleans())
def test_an_accepted_body_reads_as_any_json_parser_reads_it(value: object, ascii_only: bool) -> None:
    raw = json.dumps({"model": "m", "stream": True, "gpu_preference": value}, ensure_ascii=ascii_only)
    try:
        encoded = raw.encode()
    except UnicodeEncodeError:
        return
    assert peek(encoded) == Peek("m", True, json.loads(raw)["gpu_preference"], None, json.loads(raw))


@given(raw=st.binary(max_size=60))
def test_bytes_that_are_no_utf8_are_refused(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError:
        refused(b'{"model": "' + raw + b'"}')


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"), (b" \n\t", "empty"), (b"[]", "an array"), (b"null", "null"), (b"3", "a number"),
        (b"1.5", "a number"), (b'"x"', "a string"), (b"true", "a boolean"), (b"{", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"), (b'{"a": 1,}', "not valid JSON"), (b'{"a": 01}', "not valid JSON"),
        (b'{"a": .5}', "not valid JSON"), (b'{"a": +1}', "not valid JSON"), (b'{"a": 0x1}', "not valid JSON"),
        (b'{"a": "\n"}', "not valid JSON"), (b"{} x", "not valid JSON"), (b"{}{}", "not valid JSON"),
        (b"{}\x00", "not valid JSON"), (b"\xef\xbb\xbf{}", "not valid JSON"), (b'{"a": "\\x"}', "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"), (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": NaN}', "NaN"), (b'{"a": Infinity}', "Infinity"), (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": 1e999}', "range of a double"), (b'{"a": -1e999}', "range of a double"),
        (b'{"a": 9223372036854775808}', "64 bits"), (b'{"a": -9223372036854775808}', "64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"), (b'{"n": ' + b"1" * 5000 + b"}", "too long"),
        (b'{"a": 1, "a": 1}', "occurs twice"), (b'{"x": [{"b": 1, "c": 2, "b": 3}]}', "occurs twice"),
        (b'{"model": "a", "m\\u006fdel": "b"}', "occurs twice"),
    ],
)  # fmt: skip
def test_what_is_no_strict_json_object_is_refused_and_told_why(raw: bytes, says: str) -> None:
    error = refused(raw)
    assert says in error.message
    assert len(error.message) < 200


def test_a_duplicate_field_is_named_and_a_callers_own_key_is_not() -> None:
    assert refused(b'{"max_tokens": 1, "max_tokens": 2}').param == "max_tokens"
    for key in ("k" * 10_000, "Secret", "a b", "é"):
        error = refused(f'{{"{key}": 1, "{key}": 2}}'.encode())
        assert error.param is None
        assert key not in error.message


@pytest.mark.parametrize(
    "raw", [b"[" * 10_000, b'{"a":' * 10_000, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'[{"":' * 5_000]
)
def test_a_bottomless_body_is_refused(raw: bytes) -> None:
    assert "nested deeper" in refused(raw).message


def test_nesting_is_allowed_to_its_limit_and_no_further() -> None:
    def nested(levels: int) -> bytes:
        return b'{"gpu_preference":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert peek(nested(MAX_DEPTH)).gpu_preference is not None
    assert "nested deeper" in refused(nested(MAX_DEPTH + 1)).message


def test_a_wide_body_is_not_a_deep_one() -> None:
    assert peek(b'{"input": [' + b"[1]," * 10_000 + b"[1]]}").model is None


def test_a_body_of_very_many_objects_is_refused() -> None:
    assert "objects" in refused(b'{"a": [' + b"{}," * MAX_OBJECTS + b"{}]}").message


@pytest.mark.parametrize("field", sorted(_INTEGER_BOUNDS))
def test_an_integer_field_takes_its_range_and_null(field: str) -> None:
    low, high = _INTEGER_BOUNDS[field]
    for value in (low, high, None):
        peek(json.dumps({field: value}).encode())


@pytest.mark.parametrize("field", sorted(_INTEGER_BOUNDS))
def test_an_integer_field_refuses_everything_else(field: str) -> None:
    low, high = _INTEGER_BOUNDS[field]
    for value in (low - 1, high + 1, -1, -(2**62), 2**62, True, False, 1.0, 1.5, "1", [1], {}):
        error = refused(json.dumps({field: value}).encode())
        assert error.param == field
        assert "must be" in error.message


@pytest.mark.parametrize(
    "body", [{"n": 0}, {"n": 129}, {"best_of": 0}, {"max_tokens": -1}, {"max_tokens": 2**31}, {"max_output_tokens": 0}]
)
def test_what_would_cost_an_engine_dearly_or_means_nothing_is_refused(body: dict[str, int]) -> None:
    assert refused(json.dumps(body).encode()).param in body


@pytest.mark.parametrize("model", ["", 5, True, [], {}, 1.5])
def test_a_model_is_a_name(model: object) -> None:
    assert refused(json.dumps({"model": model}).encode()).param == "model"


@pytest.mark.parametrize("stream", ["true", 1, 0, [], {}])
def test_stream_is_a_boolean(stream: object) -> None:
    assert refused(json.dumps({"stream": stream}).encode()).param == "stream"


def test_what_is_absent_or_null_is_not_there() -> None:
    for raw in (b"{}", b'{"model": null, "stream": null, "gpu_preference": null, "max_tokens": null}'):
        assert peek(raw)[:-1] == (None, False, None, None)


@pytest.mark.parametrize("wrap", [lambda c: {"guided_choice": c}, lambda c: {"structured_outputs": {"choice": c}}])
def test_guided_choices_are_limited(wrap) -> None:
    peek(json.dumps(wrap(["a"] * MAX_GUIDED_CHOICES)).encode())
    assert "guided choices" in refused(json.dumps(wrap(["a"] * (MAX_GUIDED_CHOICES + 1))).encode()).message


def test_an_unusual_but_legal_body_is_accepted() -> None:
    assert peek('{"model": "m", "x": "𝄞\\ud834\\udd1e\\u0000", "y": -0.0, "z": 1E-400, "": {}}'.encode()).model == "m"
    assert math.isfinite(peek(b'{"gpu_preference": 1e308}').gpu_preference)


@given(
    body=st.dictionaries(st.text(max_size=5), json_values, max_size=4),
    null=st.booleans(),
    indent=st.sampled_from([None, 2]),
    space=st.sampled_from(["", " ", "\n", "\r\n\t "]),
)
def test_a_model_is_put_into_a_body_that_names_none_and_nothing_else_changes(body, null, indent, space) -> None:
    body.pop("model", None)
    named = {**body, "model": None} if null else body
    raw = (space + json.dumps(named, indent=indent) + space).encode()
    found = with_model(raw, "Acme/Demo-1B")
    assert json.loads(found) == {**json.loads(raw), "model": "Acme/Demo-1B"}
    assert found.startswith(raw.rstrip()[:-1].rstrip())
