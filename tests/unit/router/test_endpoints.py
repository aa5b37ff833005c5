from __future__ import annotations

from catalog.settings import DefaultModels
from router.endpoints import ENDPOINTS


def test_no_two_endpoints_share_a_path_with_or_without_v1() -> None:
    paths = [path for endpoint in ENDPOINTS for path in (endpoint.path, endpoint.path.removeprefix("/v1"))]
    assert len(paths) == len(set(paths))
    assert all(endpoint.path.startswith("/v1/") for endpoint in ENDPOINTS)


def test_every_default_is_a_setting() -> None:
    assert {endpoint.default for endpoint in ENDPOINTS} == set(DefaultModels.model_fields)
