"""API keys over HTTP: make, list, revoke."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.clock import rfc3339
from tests.loopback_gateway import ALL_SCOPES, OPERATOR, Answer, Gateway

KEYS = "/v1/audit/keys"
VIEW = {"id", "tenant_id", "name", "scopes", "prefix", "created_at", "expires_at"}


async def make(gateway: Gateway, key: str = OPERATOR, **members: object) -> Answer:
    return await gateway.ask("POST", KEYS, key=key, json={"scopes": ["siem:read"], **members})


async def listed(gateway: Gateway, key: str = OPERATOR) -> list[dict[str, Any]]:
    answer = await gateway.ask("GET", KEYS, key=key)
    assert (answer.status, answer.json["next_cursor"]) == (200, None)
    found: list[dict[str, Any]] = answer.json["data"]
    return found


async def test_a_key_is_shown_once(gateway: Gateway) -> None:
    """In the answer that makes it; afterwards only its prefix, and in the store only its hash."""
    expires_at = rfc3339(gateway.clock.time_s() + 3600)
    answer = await make(gateway, name="producer", tenant_id="acme", scopes=["events:write"], expires_at=expires_at)
    made = answer.json
    assert answer.status == 201
    assert answer.headers["Location"] == f"{KEYS}/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert made.keys() == VIEW | {"key"}
    value = made.pop("key")
    assert value.startswith("tl_live_")
    assert len(value) >= 40
    assert value.startswith(made["prefix"])
    assert made | {"id": "", "prefix": ""} == {
        "id": "",
        "prefix": "",
        "tenant_id": "acme",
        "name": "producer",
        "scopes": ["events:write"],
        "created_at": "2026-06-30T12:35:00.000Z",
        "expires_at": expires_at,
    }
    assert made in await listed(gateway)
    assert value.encode() not in (await gateway.ask("GET", KEYS)).body
    assert (await gateway.ask("GET", "/v1/audit/whoami", key=value)).json["id"] == made["id"]
    for file in (gateway.data_dir / "destinations.db", gateway.data_dir / "destinations.db-wal"):
        assert not file.exists() or value.encode() not in file.read_bytes()


async def test_operators_see_all_keys_and_tenants_their_own(gateway: Gateway) -> None:
    """The bootstrap key stands first in an operator's list and in no tenant's."""
    acme = await gateway.make_key("acme")
    gateway.clock.advance(1)
    other = await gateway.make_key("other")
    assert [key["tenant_id"] for key in await listed(gateway)] == ["*", "acme", "other"]
    assert [key["tenant_id"] for key in await listed(gateway, acme)] == ["acme"]
    assert [key["tenant_id"] for key in await listed(gateway, other)] == ["other"]


async def test_nobody_gives_away_more_than_they_have(gateway: Gateway) -> None:
    """A tenant's key makes keys of its tenant with scopes of its own: anything else is a 403 that names the field."""
    limited = await gateway.make_key("acme", "keys:write", "siem:read")
    assert (await make(gateway, limited)).json["tenant_id"] == "acme"
    for members, field in (
        ({"tenant_id": "other"}, "tenant_id"),
        ({"tenant_id": "*"}, "tenant_id"),
        ({"scopes": ["siem:write"]}, "scopes"),
        ({"scopes": list(ALL_SCOPES)}, "scopes"),
    ):
        answer = await gateway.ask("POST", KEYS, key=limited, json={"scopes": ["siem:read"], **members})
        assert (answer.status, list(answer.errors())) == (403, [field])
    assert (await make(gateway)).json["tenant_id"] == "*"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        *(({"scopes": scopes}, "scopes") for scopes in ([], None, "siem:read", ["all"], [1], {"siem:read": True})),
        *(({"expires_at": moment}, "expires_at") for moment in ("tomorrow", 1, "2026-06-30T12:34:59Z", "2027-01-01")),
        *(({"tenant_id": tenant}, "tenant_id") for tenant in ("", 7, "x" * 129, "a\nb")),
        *(({"name": name}, "name") for name in (7, "x" * 201, "a\x00b")),
        ({"admin": True}, "admin"),
    ],
)
async def test_what_is_wrong_with_a_key_is_said(gateway: Gateway, members: dict[str, object], field: str) -> None:
    """422 with the field; no key is made."""
    answer = await gateway.ask("POST", KEYS, json={"scopes": ["siem:read"], **members})
    assert (answer.status, list(answer.errors())) == (422, [field])
    assert len(await listed(gateway)) == 1


async def test_a_revoked_key_is_gone_at_once(gateway: Gateway) -> None:
    """204 without a body; the next request with it is a 401, and revoking it again a 404."""
    made = (await make(gateway, tenant_id="acme")).json
    answer = await gateway.ask("DELETE", f"{KEYS}/{made['id']}")
    assert (answer.status, answer.body) == (204, b"")
    assert (await gateway.ask("GET", "/v1/audit/whoami", key=made["key"])).status == 401
    assert (await gateway.ask("DELETE", f"{KEYS}/{made['id']}")).status == 404
    assert [key["id"] for key in await listed(gateway)] == ["key_bootstrap"]


async def test_another_tenants_key_is_not_there(gateway: Gateway) -> None:
    """404 for it, as for one that nobody has; it goes on working."""
    made = (await make(gateway, tenant_id="acme")).json
    stranger = await gateway.make_key("other")
    for key_id in (made["id"], "key_bootstrap", "key_nobody"):
        assert (await gateway.ask("DELETE", f"{KEYS}/{key_id}", key=stranger)).status == 404
    assert (await gateway.ask("GET", "/v1/audit/whoami", key=made["key"])).status == 200


async def test_the_bootstrap_key_cannot_be_revoked(gateway: Gateway) -> None:
    """It belongs to the settings: 409 that says so."""
    answer = await gateway.ask("DELETE", f"{KEYS}/key_bootstrap")
    assert (answer.status, "settings" in answer.detail) == (409, True)
    assert (await gateway.ask("GET", KEYS)).status == 200


async def test_keys_come_in_pages(gateway: Gateway) -> None:
    """Each once, oldest first, also when one of a page that was read is revoked meanwhile; nonsense is refused."""
    made = [(await make(gateway, name=f"key {number}")).json["id"] for number in range(5)]
    first = (await gateway.ask("GET", f"{KEYS}?limit=3")).json
    assert (await gateway.ask("DELETE", f"{KEYS}/{first['data'][-1]['id']}")).status == 204
    second = (await gateway.ask("GET", f"{KEYS}?limit=3&cursor={first['next_cursor']}")).json
    ids = [shown["id"] for shown in first["data"] + second["data"]]
    assert (sorted(ids), second["next_cursor"]) == (sorted(["key_bootstrap", *made]), None)
    assert (await gateway.ask("GET", f"{KEYS}?cursor=nonsense")).errors().keys() == {"cursor"}
    assert (await gateway.ask("GET", f"{KEYS}?limit=0")).status == 400
