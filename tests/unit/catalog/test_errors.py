from __future__ import annotations

import json
import pickle
import re

import pytest

import catalog.errors
from catalog.errors import MAX_RETRY_AFTER_S, RaymuxError, RequestError, ServiceError


def tree(root: type[RaymuxError]) -> list[type[RaymuxError]]:
    return [root, *(error for child in root.__subclasses__() for error in tree(child))]


EVERY_ERROR = tree(RaymuxError)
LEAVES = [error for error in EVERY_ERROR if not error.__subclasses__()]


@pytest.mark.parametrize("cls", EVERY_ERROR)
def test_an_error_survives_pickling_with_all_of_its_fields(cls: type[RaymuxError]) -> None:
    error = cls("do this next", param="model", retry_after_s=7.5)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert vars(copy) == vars(error)
    assert copy.args == error.args
    assert copy.body("req-1") == error.body("req-1")


@pytest.mark.parametrize("cls", EVERY_ERROR)
def test_an_error_has_the_one_shape_clients_read(cls: type[RaymuxError]) -> None:
    body = json.loads(json.dumps(cls("do this next", param="n").body("req-1")))
    assert body == {
        "error": {"message": "do this next", "type": cls.type, "param": "n", "code": cls.code, "request_id": "req-1"}
    }


@pytest.mark.parametrize("cls", EVERY_ERROR)
def test_the_family_of_an_error_tells_its_status(cls: type[RaymuxError]) -> None:
    if issubclass(cls, RequestError):
        assert 400 <= cls.status < 500
    else:
        assert 500 <= cls.status < 600
        assert cls.type == "server_error"


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = re.findall(r"[├└]── (\w+)\s+(\d{3}) (\w+)", catalog.errors.__doc__ or "")
    assert sorted(drawn) == sorted((cls.__name__, str(cls.status), cls.code) for cls in LEAVES)


def test_no_two_kinds_of_error_share_a_code() -> None:
    codes = [cls.code for cls in LEAVES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("retry_after_s", "header"), [(0, "1"), (0.2, "1"), (-5, "1"), (2.4, "2"), (120, "120"), (10_000, "120")]
)
def test_retry_after_is_whole_seconds_from_1_to_120(retry_after_s: float, header: str) -> None:
    assert ServiceError("m", retry_after_s=retry_after_s).headers() == {"retry-after": header}
    assert int(header) <= MAX_RETRY_AFTER_S


def test_an_error_without_a_retry_has_no_such_header() -> None:
    assert ServiceError("m").headers() == {}
