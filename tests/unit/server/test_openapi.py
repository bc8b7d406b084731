"""The description of the API: valid, complete, and true of what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import __version__
from gateway.providers.codec import Reply
from gateway.server.openapi import document
from gateway.server.routes import ROUTES
from tests.events import MEMBERS, REQUIRED, event, events
from tests.loopback_gateway import NDJSON, WEBHOOK, Answer, Gateway

DOCUMENT: dict[str, Any] = json.loads(document(ROUTES))

CONTRACT: dict[str, dict[str, str | None]] = {
    "/v1/audit/events": {"post": "events:write"},
    "/v1/audit/siem": {"post": "siem:write", "get": "siem:read"},
    "/v1/audit/siem/{id}": {"get": "siem:read", "put": "siem:write", "patch": "siem:write", "delete": "siem:write"},
    "/v1/audit/siem/test": {"post": "siem:write"},
    "/v1/audit/siem/{id}/test": {"post": "siem:write"},
    "/v1/audit/siem/stats": {"get": "siem:read"},
    "/v1/audit/siem/stream": {"get": "siem:read"},
    "/v1/audit/siem/filter/preview": {"post": "siem:read"},
    "/v1/audit/siem/{id}/attempts": {"get": "siem:read"},
    "/v1/audit/siem/{id}/stats": {"get": "siem:read"},
    "/v1/audit/siem/{id}/activity": {"get": "siem:read"},
    "/v1/audit/activity": {"get": "siem:read"},
    "/v1/audit/siem/{id}/gaps": {"get": "siem:read"},
    "/v1/audit/siem/{id}/dead-letters": {"get": "siem:read", "delete": "siem:write"},
    "/v1/audit/siem/{id}/dead-letters/replay": {"post": "siem:write"},
    "/v1/audit/siem/{id}/backfill": {"post": "siem:write"},
    "/v1/audit/siem/{id}/ledger": {"get": "siem:read"},
    "/v1/audit/whoami": {"get": ""},
    "/v1/audit/siem/providers": {"get": ""},
    "/v1/audit/keys": {"get": "keys:write", "post": "keys:write"},
    "/v1/audit/keys/{id}": {"delete": "keys:write"},
    "/healthz": {"get": None},
    "/readyz": {"get": None},
    "/metrics": {"get": None},
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def schema_of(method: str, path: str, answer: Answer) -> dict[str, Any]:
    """What the description says about an answer, with everything that it refers to."""
    content = DOCUMENT["paths"][path][method]["responses"][str(answer.status)]["content"]
    media_type = answer.headers["Content-Type"].partition(";")[0]
    return {**content[media_type]["schema"], "components": DOCUMENT["components"]}


def check(method: str, path: str, answer: Answer) -> None:
    OAS31Validator(schema_of(method, path, answer)).validate(answer.json)


async def test_it_is_served(gateway: Gateway) -> None:
    """As JSON, without a key, with the version of the program."""
    answer = await gateway.ask("GET", "/openapi.json", key=None)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "application/json")
    assert answer.json == DOCUMENT
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", __version__)


def test_it_is_valid_openapi() -> None:
    """By the standard's own schema, with every reference leading somewhere."""
    errors = [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    assert errors == []
    for reference in references(DOCUMENT):
        assert reference.startswith("#/components/schemas/")
        assert reference.rpartition("/")[2] in DOCUMENT["components"]["schemas"]
    for schema in DOCUMENT["components"]["schemas"].values():
        OAS31Validator.check_schema(schema)


def test_every_route_is_described_with_its_scope() -> None:
    """Those of the contract and no others; who may call them, and what they answer to those who may not."""
    found = {path: set(item) for path, item in DOCUMENT["paths"].items()}
    assert found == {path: set(methods) for path, methods in CONTRACT.items()}
    for path, method, operation in operations():
        scope = CONTRACT[path][method]
        assert operation["summary"]
        assert ("security" in operation and operation["security"] == []) is (scope is None)
        assert ("401" in operation["responses"]) is (scope is not None)
        assert ("403" in operation["responses"]) is bool(scope)
        if scope:
            assert f"`{scope}`" in operation["description"]
        if "{id}" in path:
            assert [p["name"] for p in operation["parameters"] if p["in"] == "path"] == ["id"]
            assert "404" in operation["responses"] or path.startswith("/v1/audit/events")


def test_operations_are_told_apart() -> None:
    """For generated clients: each has an id of its own."""
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)


def test_errors_are_problems() -> None:
    """Every answer from 400 on is ``application/problem+json`` with the one schema."""
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (path, method, status)
                assert response["content"]["application/problem+json"]["schema"] == {
                    "$ref": "#/components/schemas/Problem"
                }


def test_query_parameters_of_the_contract_are_there() -> None:
    """With their types and bounds."""

    def named(path: str, method: str) -> dict[str, Any]:
        return {p["name"]: p["schema"] for p in DOCUMENT["paths"][path][method]["parameters"] if p["in"] == "query"}

    assert named("/v1/audit/siem", "get").keys() == {"limit", "cursor", "status", "provider"}
    assert named("/v1/audit/siem", "get")["status"]["enum"] == ["active", "degraded", "failed"]
    assert named("/v1/audit/siem/{id}", "delete").keys() == {"timeout", "force"}
    assert named("/v1/audit/siem/{id}", "delete")["timeout"]["default"] == 30
    assert named("/v1/audit/siem/{id}/dead-letters", "get").keys() == {"limit", "cursor", "format"}
    assert named("/v1/audit/siem/{id}/gaps", "get").keys() == {"limit", "cursor", "format"}
    assert named("/v1/audit/siem/{id}/stats", "get")["window"]["enum"] == ["1h", "24h", "7d"]
    assert named("/v1/audit/siem/{id}/activity", "get").keys() == {"limit", "cursor"}
    assert named("/v1/audit/siem/{id}/attempts", "get").keys() == {"limit", "cursor"}


def test_an_event_is_described_as_it_is_checked() -> None:
    """Ten required members; the two others with their types; anything else besides."""
    schema = {"$ref": "#/components/schemas/AuditEvent", "components": DOCUMENT["components"]}
    validator = OAS31Validator(schema)
    assert set(DOCUMENT["components"]["schemas"]["AuditEvent"]["required"]) == set(REQUIRED)
    assert validator.is_valid({**MEMBERS, "more": [1]})
    for name in REQUIRED:
        assert not validator.is_valid({key: value for key, value in MEMBERS.items() if key != name})
        assert not validator.is_valid({**MEMBERS, name: 1})
    assert not validator.is_valid({**MEMBERS, "metadata": []})
    assert not validator.is_valid({**MEMBERS, "integrity_hash": 1})
    for path in ("/v1/audit/events", "/v1/audit/siem/{id}/backfill"):
        content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
        assert content.keys() == {"application/x-ndjson", "application/json"}


@pytest.mark.parametrize(
    "given",
    [
        WEBHOOK,
        {"provider": "cloudwatch", "endpoint": "https://logs", "access_key_id": "a", "secret_access_key": "b"},
        {"provider": "splunk", "endpoint": "https://hec", "token": "t", "enabled": True, "options": {"ack": True}},
        {**WEBHOOK, "tenant_id": "acme", "name": "n", "ordered": True, "filter": {"actions": ["a.*"]}},
    ],
)
def test_what_may_be_sent_fits_its_description(given: dict[str, object]) -> None:
    """The bodies of the public page, and those with everything in them."""
    schema = DOCUMENT["paths"]["/v1/audit/siem"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    OAS31Validator({**schema, "components": DOCUMENT["components"]}).validate(given)


async def test_answers_fit_their_description(streaming: Gateway) -> None:
    """Real answers of every route, good ones and refusals, against the schemas."""
    siem, one, keys = "/v1/audit/siem", "/v1/audit/siem/{id}", "/v1/audit/keys"
    created = await streaming.ask("POST", siem, json={**WEBHOOK, "name": "described"})
    check("post", siem, created)
    path = f"{siem}/{created.json['id']}"
    check("post", "/v1/audit/events", await streaming.post(b"\n".join(events(3))))
    check("post", "/v1/audit/events", await streaming.post(event() + b"\nx\n\xff"))
    check("post", "/v1/audit/events", await streaming.post(b"x"))
    await streaming.settled(created.json["id"])
    streaming.wire.answer = lambda _: Reply(503, {}, b"busy")
    await streaming.post(event())
    sent = len(streaming.wire.requests)
    await streaming.until(lambda: len(streaming.wire.requests) > sent + 2)
    check("get", one, await streaming.ask("GET", path))
    check("put", one, await streaming.ask("PUT", path, json={"name": "x"}))
    check("put", one, await streaming.ask("PUT", path, json={"enabled": 1}))
    check("get", siem, await streaming.ask("GET", siem))
    check("post", f"{siem}/test", await streaming.ask("POST", f"{siem}/test", json=WEBHOOK))
    check("post", f"{one}/test", await streaming.ask("POST", f"{path}/test"))
    for name in ("attempts", "gaps", "ledger", "dead-letters", "stats", "activity"):
        check("get", f"{one}/{name}", await streaming.ask("GET", f"{path}/{name}"))
    check("delete", f"{one}/dead-letters", await streaming.ask("DELETE", f"{path}/dead-letters"))
    check("post", f"{one}/dead-letters/replay", await streaming.ask("POST", f"{path}/dead-letters/replay"))
    check(
        "post",
        f"{one}/backfill",
        await streaming.ask("POST", f"{path}/backfill", data=event() + b"\nx", headers=NDJSON),
    )
    check("post", keys, await streaming.ask("POST", keys, json={"scopes": ["siem:read"], "tenant_id": "acme"}))
    check("get", keys, await streaming.ask("GET", keys))
    check("get", f"{siem}/stats", await streaming.ask("GET", f"{siem}/stats"))
    check("get", "/v1/audit/activity", await streaming.ask("GET", "/v1/audit/activity"))
    preview = await streaming.ask("POST", f"{siem}/filter/preview", json={"filter": {"actions": ["*"]}})
    check("post", f"{siem}/filter/preview", preview)
    check("get", "/v1/audit/whoami", await streaming.ask("GET", "/v1/audit/whoami"))
    check("get", f"{siem}/providers", await streaming.ask("GET", f"{siem}/providers"))
    check("get", "/healthz", await streaming.ask("GET", "/healthz"))
    check("get", "/readyz", await streaming.ask("GET", "/readyz"))
    check("delete", one, await streaming.ask("DELETE", f"{path}?timeout=0"))
    check("get", one, await streaming.ask("GET", f"{siem}/siem_nobody"))
