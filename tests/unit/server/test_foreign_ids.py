"""Another tenant's ids take the way of ids that nobody has: what is answered is the same, and so is what is asked of
the store, the queue and the streams on the way to it. Nothing is left by which a clock could tell them apart.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from gateway.server.openapi import document
from gateway.server.routes import ROUTES
from tests.events import event
from tests.loopback_gateway import JSON, NDJSON, Answer, Gateway

OPERATIONS = [
    (method.upper(), path, operation)
    for path, operations in json.loads(document(ROUTES))["paths"].items()
    if "{id}" in path
    for method, operation in operations.items()
]
OF_THEIR_OWN = ("x-request-id", "date", "ratelimit")  # headers that are another with every answer
DIGEST = re.compile("[0-9a-f]{64}")  # of a request, its path included


class Spy:
    """Notes every call of a public method, without the id that it is about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *watched: object) -> None:
        self.calls: list[str] = []
        for thing in watched:
            for name, method in inspect.getmembers(thing, inspect.ismethod):
                if not name.startswith("_"):
                    monkeypatch.setattr(thing, name, self._noting(f"{type(thing).__name__}.{name}", method))

    def taken(self, name: str) -> list[str]:
        calls, self.calls = self.calls, []
        return [DIGEST.sub("…", call.replace(name, "…")) for call in calls]

    def _noting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def note(*given: object, **named: object) -> Any:
            self.calls.append(f"{name} {given} {named}")
            return method(*given, **named)

        return note


class Way(NamedTuple):
    """A request beside its id."""

    query: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = {}


def ways(operation: Mapping[str, Any]) -> list[Way]:
    """As it should be, and with each thing wrong or special that the description knows."""
    content = operation.get("requestBody", {}).get("content", {})
    kind = NDJSON if "application/x-ndjson" in content else JSON
    good = event(tenant_id="tenant-a") if kind is NDJSON else b"{}"
    found = [Way(body=good, headers=kind), Way(body=b"[", headers=kind)] if content else [Way()]
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            found += [found[0]._replace(query=f"?{parameter['name']}={value}") for value in ("1", "true", "ndjson", "")]
        if parameter["in"] == "header":
            values = ('"x"', "*", "")
            found += [found[0]._replace(headers={**found[0].headers, parameter["name"]: value}) for value in values]
    return found


def seen(answer: Answer, name: str) -> tuple[int, bytes, list[tuple[str, str]]]:
    headers = [(header, "" if header.lower() in OF_THEIR_OWN else value) for header, value in answer.headers.items()]
    return answer.status, answer.body.replace(name.encode(), b""), sorted(headers)


def nobodys(name: str) -> str:
    """An id of the same form."""
    kind, _, letters = name.partition("_")
    return f"{kind}_{''.join(string.ascii_letters[-1 - number % 20] for number in range(len(letters)))}"


async def ids(gateway: Gateway, path: str) -> tuple[str, list[str]]:
    """One of the caller's tenant; one of another tenant, and one of the operator's."""
    if path.startswith("/v1/audit/keys/"):
        for tenant in ("tenant-b", "tenant-a"):
            await gateway.make_key(tenant)
        listed = (await gateway.ask("GET", "/v1/audit/keys")).json["data"]
        newest = {shown["tenant_id"]: shown["id"] for shown in listed}
        return newest["tenant-a"], [newest["tenant-b"], newest["*"]]
    own = await gateway.make_destination(tenant_id="tenant-a")
    return own, [await gateway.make_destination(tenant_id="tenant-b"), await gateway.make_destination()]


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS]
)
async def test_a_foreign_id_takes_the_way_of_one_that_nobody_has(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, method: str, path: str, operation: Mapping[str, Any]
) -> None:
    """Every operation of the description that names something, asked well and badly: status, body, headers and every
    call of store, queue and streams are the same, and those for the caller's own are others.
    """
    key = await gateway.make_key("tenant-a")
    own, foreign = await ids(gateway, path)
    spy = Spy(monkeypatch, gateway.store, gateway.queue, gateway.supervisor)

    async def ask(name: str, way: Way) -> tuple[Answer, list[str]]:
        spy.taken(name)
        target = path.replace("{id}", name) + way.query
        answer = await gateway.ask(method, target, key=key, data=way.body, headers=way.headers)
        return answer, spy.taken(name)

    for way in ways(operation):
        for name in foreign:
            (answer, calls), (expected, expected_calls) = await ask(name, way), await ask(nobodys(name), way)
            assert 400 <= answer.status < 500
            assert seen(answer, name) == seen(expected, nobodys(name)), way
            assert calls == expected_calls, way
    plain = ways(operation)[0]
    if (method, path) == ("DELETE", "/v1/audit/siem/{id}"):
        plain = plain._replace(query="?timeout=0")  # nothing is delivered here
    refused, calls = await ask(foreign[0], plain)
    granted, own_calls = await ask(own, plain)
    assert (refused.status, granted.status != 404) == (404, True)
    assert own_calls != calls


def test_the_description_names_something_in_every_route_that_does() -> None:
    """None is left out."""
    assert len(OPERATIONS) == len([route for route in ROUTES if "{id}" in route.path]) > 10
