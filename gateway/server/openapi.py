"""The OpenAPI 3.1 document, made from the route table and the very types that are decoded and answered."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from gateway import __version__
from gateway.event import AuditEvent
from gateway.server.parameters import Parameter
from gateway.server.problems import Problem
from gateway.server.routes import EVENTS_BODY, Route

_REFERENCE = "#/components/schemas/{name}"
_HEADERS = {
    "ETag": {"description": "Changes with what was set.", "schema": {"type": "string"}, "required": True},
    "Location": {"description": "The path of what was made.", "schema": {"type": "string"}, "required": True},
}


def document(routes: Iterable[Route]) -> bytes:
    routes = tuple(routes)
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, schema_hook=_anything, ref_template=_REFERENCE)
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, known)
        if route.makes:
            operation["responses"]["201"]["links"] = _links(routes, route.makes)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Audit SIEM gateway",
                "version": __version__,
                "description": "Streams audit events to SIEMs: durable before it answers, delivered until they arrive.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "Bearer": {"type": "http", "scheme": "bearer"},
                },
            },
        }
    )


def _anything(kind: type) -> dict[str, object]:
    """What may be any JSON: options, whose fields depend on the provider, the event of a dead letter, what changed."""
    if kind in (object, msgspec.Raw):
        return {"description": "any JSON"}
    raise NotImplementedError(f"no JSON schema for {kind}")


def _types(routes: Iterable[Route]) -> list[type]:
    found: dict[type, None] = {Problem: None, AuditEvent: None}
    for route in routes:
        found |= dict.fromkeys(kind for kind in route.answers.values() if kind is not None and kind is not str)
        if isinstance(route.body, type):
            found[route.body] = None
    return list(found)


def _links(routes: Iterable[Route], made: str) -> dict[str, object]:
    """What can be done with what was made."""
    return {
        _name(route): {"operationId": _name(route), "parameters": {"id": "$response.body#/id"}}
        for route in routes
        if route.path.startswith(made)
    }


def _name(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2] + "_" + route.handler.__name__


def _operation(route: Route, known: dict[type, dict[str, object]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _name(route),
        "responses": _responses(route, known),
    }
    text = route.text
    if route.scope is not None:
        text = f"{text}\n\nNeeds the scope `{route.scope.value}`.".strip()
    if text:
        operation["description"] = text
    parameters = [_path_parameter()] if "{id}" in route.path else []
    parameters += [_parameter(parameter) for parameter in route.parameters]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": route.body_required, "content": _content(route, known)}
    operation["security"] = [] if route.is_open else [{"ApiKey": []}, {"Bearer": []}]
    return operation


def _content(route: Route, known: dict[type, dict[str, object]]) -> dict[str, object]:
    if route.body == EVENTS_BODY:
        event = known[AuditEvent]
        return {
            "application/x-ndjson": {
                "schema": {"type": "string", "minLength": 1, "description": "One JSON object on each line."}
            },
            "application/json": {"schema": {"oneOf": [event, {"type": "array", "items": event, "minItems": 1}]}},
        }
    assert isinstance(route.body, type)
    return {media_type: {"schema": known[route.body]} for media_type in route.body_types}


def _responses(route: Route, known: dict[type, dict[str, object]]) -> dict[str, object]:
    responses: dict[str, object] = {}
    for status, kind in route.answers.items():
        answer: dict[str, object] = {"description": HTTPStatus(status).phrase}
        if route.headers:
            answer["headers"] = {name: _HEADERS[name] for name in route.headers}
        if kind is not None:
            schema = {"type": "string"} if kind is str else known[kind]
            content: dict[str, object] = {route.media_type: {"schema": schema}}
            if route.downloads:
                content["application/x-ndjson"] = {"schema": {"type": "string"}}
            answer["content"] = content
        responses[str(status)] = answer
    refusals = set(route.problems)
    if not route.is_open:
        refusals |= {401} if route.scope is None else {401, 403}
    if route.is_limited:
        refusals.add(429)
    for status in sorted(refusals):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": known[Problem]}},
        }
    return responses


def _path_parameter() -> dict[str, object]:
    return {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def _parameter(parameter: Parameter) -> dict[str, object]:
    return {"name": parameter.name, "in": parameter.place, "description": parameter.text, "schema": parameter.schema}
