"""The OpenAPI document: every route is in it, and it is valid."""

from __future__ import annotations

import jsonschema
from jsonschema.validators import Draft202012Validator

from deployments.gateway.openapi import OPERATIONS, document
from router.endpoints import ENDPOINTS
from tests.unit.deployments.gateway.conftest import GatewayUnderTest


async def test_every_route_is_described_and_nothing_else(gateway: GatewayUnderTest) -> None:
    described = {
        f"{method.upper()} {path}"
        for path, operations in (await gateway.get("/openapi.json")).json()["paths"].items()
        for method in operations
    }
    # `/rerank` is listed as `/v1/rerank`; its older form is documented beside the others.
    assert described == OPERATIONS.keys()
    assert {f"POST {endpoint.path}" for endpoint in ENDPOINTS} <= described


async def test_every_schema_is_one(gateway: GatewayUnderTest) -> None:
    whole = document(gateway.routes())  # type: ignore[arg-type]
    for operations in whole["paths"].values():
        for operation in operations.values():
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            for holder in (*operation["responses"].values(), *bodies):
                for content in holder["content"].values():
                    Draft202012Validator.check_schema(content.get("schema", {}))


async def test_an_error_is_as_the_document_says(gateway: GatewayUnderTest) -> None:
    whole = document(gateway.routes())  # type: ignore[arg-type]
    error = (await gateway.get("/v1/models/nobody")).json()
    jsonschema.validate(error, whole["components"]["schemas"]["Error"])
    assert "404" in whole["paths"]["/v1/models/{id}"]["get"]["responses"]
