"""Who may call what."""

from __future__ import annotations

import asyncio

import pytest

from gateway.clock import rfc3339
from gateway.server.routes import ROUTES
from tests.conformance.raw_http import request
from tests.events import event
from tests.loopback_gateway import NDJSON, OPERATOR, Gateway

MISSING = "siem_00000000000000000000"
SCOPED = [
    ("POST", "/v1/audit/events", "events:write"),
    ("POST", "/v1/audit/siem", "siem:write"),
    ("GET", "/v1/audit/siem", "siem:read"),
    ("GET", "/v1/audit/siem/" + MISSING, "siem:read"),
    ("PUT", "/v1/audit/siem/" + MISSING, "siem:write"),
    ("DELETE", "/v1/audit/siem/" + MISSING, "siem:write"),
    ("POST", "/v1/audit/siem/test", "siem:write"),
    ("POST", "/v1/audit/siem/" + MISSING + "/test", "siem:write"),
    ("GET", "/v1/audit/siem/" + MISSING + "/attempts", "siem:read"),
    ("GET", "/v1/audit/siem/" + MISSING + "/gaps", "siem:read"),
    ("GET", "/v1/audit/siem/" + MISSING + "/dead-letters", "siem:read"),
    ("DELETE", "/v1/audit/siem/" + MISSING + "/dead-letters", "siem:write"),
    ("POST", "/v1/audit/siem/" + MISSING + "/dead-letters/replay", "siem:write"),
    ("POST", "/v1/audit/siem/" + MISSING + "/backfill", "siem:write"),
    ("GET", "/v1/audit/siem/" + MISSING + "/ledger", "siem:read"),
    ("GET", "/v1/audit/keys", "keys:write"),
    ("POST", "/v1/audit/keys", "keys:write"),
    ("DELETE", "/v1/audit/keys/" + MISSING, "keys:write"),
]
UNSCOPED = [("GET", "/v1/audit/whoami"), ("GET", "/v1/audit/siem/providers")]
SCOPES = ("events:write", "siem:read", "siem:write", "keys:write")


async def test_every_route_under_v1_needs_a_key(gateway: Gateway) -> None:
    """Without one, and with one that nobody knows: 401, and a word on how to send one."""
    for method, path in [*((method, path) for method, path, _ in SCOPED), *UNSCOPED]:
        missing = await gateway.ask(method, path, key=None)
        unknown = await gateway.ask(method, path, key="tl_live_unknown")
        assert (missing.status, unknown.status) == (401, 401), path
        assert "X-API-Key" in missing.detail
        assert "not known" in unknown.detail
        assert missing.headers["WWW-Authenticate"].startswith("Bearer")


async def test_what_machines_ask_needs_none(gateway: Gateway) -> None:
    """Alive, ready, metrics and the description are open."""
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert (await gateway.ask("GET", path, key=None)).status == 200


async def test_a_key_may_do_what_its_scopes_say_and_nothing_else(gateway: Gateway) -> None:
    """Each route takes the keys that have its scope, and answers 403 to those that have all others."""
    for method, path, scope in SCOPED:
        others = await gateway.make_key("acme", *(name for name in SCOPES if name != scope))
        refused = await gateway.ask(method, path, key=others)
        assert (refused.status, scope in refused.detail) == (403, True), path
        allowed = await gateway.ask(method, path, key=await gateway.make_key("acme", scope))
        assert allowed.status not in (401, 403), path


async def test_the_403_of_a_tenant_without_streaming_names_the_enterprise_tier(gateway: Gateway) -> None:
    """The siem scopes stand for an entitlement: the answer says which, and only where that is what is missing."""
    key = await gateway.make_key("acme", "events:write")
    assert "Enterprise tier" in (await gateway.ask("GET", "/v1/audit/siem", key=key)).detail
    assert "Enterprise tier" in (await gateway.ask("POST", "/v1/audit/siem", key=key, json={})).detail
    assert "Enterprise" not in (await gateway.ask("GET", "/v1/audit/keys", key=key)).detail
    operators = await gateway.make_key("*", "events:write")
    assert "Enterprise" not in (await gateway.ask("GET", "/v1/audit/siem", key=operators)).detail


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_a_key_may_come_as_a_bearer_token(gateway: Gateway, scheme: str) -> None:
    """``Authorization: Bearer`` is as good as ``X-API-Key``."""
    answer = await gateway.ask("GET", "/v1/audit/whoami", key=None, headers={"Authorization": f"{scheme} {OPERATOR}"})
    assert answer.json == {
        "id": "key_bootstrap",
        "tenant_id": "*",
        "scopes": list(SCOPES),
        "name": "Bootstrap key",
    }


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Basic b3A6", OPERATOR, f"Token {OPERATOR}"])
async def test_other_authorisations_are_none(gateway: Gateway, value: str) -> None:
    """Another scheme, or a bearer without a token: 401."""
    answer = await gateway.ask("GET", "/v1/audit/whoami", key=None, headers={"Authorization": value})
    assert answer.status == 401


@pytest.mark.parametrize("key", ["", " ", "é", "x" * 4000, OPERATOR + "x", OPERATOR[:-1], OPERATOR.upper()])
async def test_keys_must_be_exact(gateway: Gateway, key: str) -> None:
    """Empty, strange, long or nearly right: 401."""
    assert (await gateway.ask("GET", "/v1/audit/whoami", key=key)).status == 401


async def test_whoami_shows_the_key_and_what_it_may(gateway: Gateway) -> None:
    """Id, tenant, scopes and name; any key may ask, and none is shown."""
    key = await gateway.make_key("acme", "siem:read", "events:write", name="producer")
    answer = await gateway.ask("GET", "/v1/audit/whoami", key=key)
    assert answer.json.pop("id").startswith("key_")
    assert answer.json | {"id": ""} == {
        "id": "",
        "tenant_id": "acme",
        "scopes": ["events:write", "siem:read"],
        "name": "producer",
    }
    assert key.encode() not in answer.body


async def test_a_key_ends_at_its_time_and_when_it_is_revoked(gateway: Gateway) -> None:
    """From that moment on it is as unknown as any other."""
    expiring = await gateway.make_key("acme", expires_at=rfc3339(gateway.clock.time_s() + 60))
    revoked = await gateway.make_key("acme", "events:write", name="revoked")
    for key in (expiring, revoked):
        assert (await gateway.post(event(), key=key)).status == 202
    listed = (await gateway.ask("GET", "/v1/audit/keys")).json["data"]
    (key_id,) = [key["id"] for key in listed if key["name"] == "revoked"]
    assert (await gateway.ask("DELETE", f"/v1/audit/keys/{key_id}")).status == 204
    gateway.clock.advance(59.0)
    assert (await gateway.post(event(), key=expiring)).status == 202
    gateway.clock.advance(1.0)
    for key in (expiring, revoked):
        answer = await gateway.post(event(), key=key)
        assert (answer.status, "revoked or has expired" in answer.detail) == (401, True)


async def test_another_tenants_destination_is_not_there(gateway: Gateway) -> None:
    """Every route that names a destination answers 404 to another tenant, as it does for an id that nobody has."""
    own, operators = await gateway.make_destination(tenant_id="acme"), await gateway.make_destination()
    stranger = await gateway.make_key("other")
    for method, path, _ in SCOPED:
        if MISSING not in path or "keys" in path:
            continue
        answers = [
            await gateway.ask(method, path.replace(MISSING, name), key=stranger, data=b"{}", headers=NDJSON)
            for name in (own, operators, MISSING)
        ]
        assert [answer.status for answer in answers] == [404, 404, 404], path
        assert len({answer.detail for answer in answers}) == 1
    assert (await gateway.ask("GET", "/v1/audit/siem", key=stranger)).json["data"] == []


async def test_refused_callers_are_answered_before_their_body_is_read(gateway: Gateway) -> None:
    """Who has no key, or one without the scope, costs no work on what comes with it, and is not asked to send it."""
    without_scope = await gateway.make_key("acme", "siem:read")
    for key, status in ((None, 401), ("tl_live_unknown", 401), (without_scope, 403)):
        headers = {**NDJSON, "Content-Encoding": "gzip"}
        answer = await gateway.ask("POST", "/v1/audit/events", key=key, data=b"\xff" * 100_000, headers=headers)
        assert answer.status == status
        presented = (key or "").encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(b"Expect: 100-continue", b"Content-Length: 9", key=presented))
        assert (await reader.readuntil(b"\r\n")).split()[1] == b"%d" % status
        writer.close()
    assert b"gateway_ingest_requests_total{" not in (await gateway.ask("GET", "/metrics")).body


async def test_a_revoked_key_is_refused_by_every_route_from_then_on(gateway: Gateway) -> None:
    """Also by the short way of ingest, on the connection on which it was good a moment ago."""
    key = await gateway.make_key("acme")
    shown = (await gateway.ask("GET", "/v1/audit/whoami", key=key)).json
    for _ in range(3):
        assert (await gateway.post(event(tenant_id="acme"), key=key)).status == 202
    assert (await gateway.ask("DELETE", f"/v1/audit/keys/{shown['id']}")).status == 204
    assert (await gateway.post(event(tenant_id="acme"), key=key)).status == 401
    for route in ROUTES:
        if not route.is_open:
            answer = await gateway.ask(route.method, route.path.replace("{id}", "siem_1"), key=key)
            assert answer.status == 401, (route.method, route.path)
