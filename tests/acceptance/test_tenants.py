"""Who may see, touch and receive what: keys, scopes, tenants, filters, backfills."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from gateway.demo.receivers import SplunkReceiver, WebhookReceiver
from tests.acceptance.audit_events import by_id, event, events
from tests.acceptance.gateway_process import GatewayProcess

SIEM = "/v1/audit/siem"
ALL_SCOPES = ("events:write", "siem:read", "siem:write", "keys:write")


async def test_a_tenants_events_stay_with_it(gateway: GatewayProcess) -> None:
    """Two tenants: each destination gets its tenant's events only, that of the operator gets all, and a key takes in
    its own tenant's events and no others.
    """
    async with SplunkReceiver() as first, SplunkReceiver() as second, WebhookReceiver(format="ndjson") as everything:
        a = gateway.api_with((await gateway.api.new_key("tenant-a", *ALL_SCOPES))["key"])
        b = gateway.api_with((await gateway.api.new_key("tenant-b", *ALL_SCOPES))["key"])
        of_a, of_b, of_all = await a.create(first), await b.create(second), await gateway.api.create(everything)
        owners = [(await gateway.api.destination(name))["tenant_id"] for name in (of_a, of_b, of_all)]
        assert owners == ["tenant-a", "tenant-b", "*"]
        lines_a, lines_b = events(30, tenant_id="tenant-a"), events(20, tenant_id="tenant-b")
        mixed = [event(tenant_id=f"tenant-{'abc'[number % 3]}") for number in range(40)]
        await a.accept(lines_a)
        await b.accept(lines_b)
        await gateway.api.accept(mixed)
        answer = await a.post_lines([event(tenant_id="tenant-b"), lines_a[0]])
        assert answer.status == 207
        assert [error["line"] for error in answer.json()["errors"]] == [1]
        assert (await b.post_lines([event(tenant_id="tenant-a")])).status == 400
        for api, destination, receiver, lines in (
            (a, of_a, first, lines_a + mixed[0::3] + lines_a[:1]),
            (b, of_b, second, lines_b + mixed[1::3]),
            (gateway.api, of_all, everything, lines_a + lines_b + mixed + lines_a[:1]),
        ):
            assert (await api.until_settled(destination))["delivered"] == len(lines)
            assert receiver.events == by_id(lines)


async def test_another_tenants_destination_does_not_exist(gateway: GatewayProcess) -> None:
    """Whatever a tenant's key asks of another's destination, or of an operator's, is 404, and nothing happens to it;
    lists show its own alone.
    """
    async with SplunkReceiver() as receiver:
        a = gateway.api_with((await gateway.api.new_key("tenant-a", *ALL_SCOPES))["key"])
        b = gateway.api_with((await gateway.api.new_key("tenant-b", *ALL_SCOPES))["key"])
        of_a, of_b, of_all = await a.create(receiver), await b.create(receiver), await gateway.api.create(receiver)
        for foreign in (of_b, of_all):
            before = (await gateway.api.destination(foreign))["updated_at"]
            for method, path in (
                ("GET", ""),
                ("PUT", ""),
                ("DELETE", "?force=true"),
                ("POST", "/test"),
                ("GET", "/attempts"),
                ("GET", "/gaps"),
                ("GET", "/ledger"),
                ("GET", "/dead-letters"),
                ("DELETE", "/dead-letters"),
                ("POST", "/dead-letters/replay"),
            ):
                json = {"enabled": False} if method == "PUT" else None
                answer = await a.call(method, f"{SIEM}/{foreign}{path}", json=json)
                assert answer.status == 404, (method, path)
            assert (await a.post_lines(events(1), f"{SIEM}/{foreign}/backfill")).status == 404
            assert (await gateway.api.destination(foreign))["updated_at"] == before
        for api, seen in ((a, {of_a}), (b, {of_b}), (gateway.api, {of_a, of_b, of_all})):
            page = await api.expect(200, "GET", SIEM)
            assert {shown["id"] for shown in page["data"]} == seen
        chosen = await a.call("POST", SIEM, json={**splunk(receiver), "tenant_id": "tenant-b"})
        assert chosen.status == 403
        made = await gateway.api.expect(201, "POST", SIEM, json={**splunk(receiver), "tenant_id": "tenant-b"})
        assert made["tenant_id"] == "tenant-b"
        assert receiver.events == {}


async def test_scopes_say_what_a_key_may_do(gateway: GatewayProcess) -> None:
    """Without a key or with an unknown one: 401. Without the scope: 403, which names it, and for siem the tier."""
    routes = {
        "events:write": ("POST", "/v1/audit/events"),
        "siem:read": ("GET", SIEM),
        "siem:write": ("POST", SIEM),
        "keys:write": ("GET", "/v1/audit/keys"),
    }
    for key in (None, "tl_live_unknown-unknown-unknown-unknown-unknown"):
        for method, path in routes.values():
            answer = await gateway.api_with(key).call(method, path)
            assert (answer.status, answer.headers["Content-Type"]) == (401, "application/problem+json")
    for held in ALL_SCOPES:
        made = await gateway.api.new_key("tenant-a", held)
        api = gateway.api_with(made["key"])
        who = await api.expect(200, "GET", "/v1/audit/whoami")
        assert (who["id"], who["tenant_id"], who["scopes"]) == (made["id"], "tenant-a", [held])
        for needed, (method, path) in routes.items():
            answer = await api.call(method, path)
            assert (answer.status == 403) == (needed != held), (held, needed)
            if needed != held:
                detail = answer.json()["detail"]
                assert needed in detail
                assert ("Enterprise" in detail) == needed.startswith("siem:")


async def test_a_bearer_is_a_key(gateway: GatewayProcess) -> None:
    """Authorization: Bearer does what X-API-Key does."""
    made = await gateway.api.new_key("tenant-a", "siem:read")
    anonymous = gateway.api_with(None)
    answer = await anonymous.call("GET", "/v1/audit/whoami", headers={"Authorization": f"Bearer {made['key']}"})
    assert answer.json()["id"] == made["id"]


async def test_a_revoked_key_is_unknown_at_once(gateway: GatewayProcess) -> None:
    """A key may be revoked by its tenant's keys:write alone or an operator's; then it is 401, over a kill -9 too."""
    a = await gateway.api.new_key("tenant-a", *ALL_SCOPES)
    b = await gateway.api.new_key("tenant-b", *ALL_SCOPES)
    path = f"/v1/audit/keys/{a['id']}"
    assert (await gateway.api_with(b["key"]).call("DELETE", path)).status == 404
    listed = await gateway.api_with(b["key"]).expect(200, "GET", "/v1/audit/keys")
    assert [shown["id"] for shown in listed["data"]] == [b["id"]]
    more = {"name": "more", "tenant_id": "tenant-a", "scopes": ["siem:read"]}
    assert (await gateway.api_with(b["key"]).call("POST", "/v1/audit/keys", json=more)).status == 403
    await gateway.api_with(a["key"]).accept(events(1))
    await gateway.api.expect(204, "DELETE", path)
    assert (await gateway.api_with(a["key"]).post_lines(events(1))).status == 401
    await gateway.kill()
    await gateway.start()
    assert (await gateway.api_with(a["key"]).post_lines(events(1))).status == 401
    await gateway.api_with(b["key"]).accept(events(1, tenant_id="tenant-b"))


async def test_no_key_gives_more_than_it_has(gateway: GatewayProcess) -> None:
    """A key made with another key has at most its scopes and its tenant."""
    made = await gateway.api.new_key("tenant-a", "keys:write", "siem:read")
    api = gateway.api_with(made["key"])
    wider = await api.call("POST", "/v1/audit/keys", json={"name": "wider", "scopes": ["siem:read", "events:write"]})
    assert wider.status == 403
    same = await api.expect(201, "POST", "/v1/audit/keys", json={"name": "same", "scopes": ["siem:read"]})
    assert same["tenant_id"] == "tenant-a"


async def test_filters_choose_events(gateway: GatewayProcess) -> None:
    """Only what a destination's filter matches arrives there, the rest counts as filtered; a PUT changes it at once."""
    lines = [
        event(action=action) for action in ("attestation.mint", "attestation.revoke", "login.success", "key.rotate")
    ]
    filters = {
        "all": {},
        "some": {"actions": ["attestation.*", "login.*"]},
        "not": {"exclude_actions": ["attestation.mint"]},
        "both": {"actions": ["attestation.*"], "exclude_actions": ["*.revoke"], "outcomes": ["SUCCESS"]},
        "none": {"services": ["another"]},
    }
    expected = {"all": [0, 1, 2, 3], "some": [0, 1, 2], "not": [1, 2, 3], "both": [0], "none": []}
    async with AsyncExitStack() as stack:
        created = {}
        for label, chosen in filters.items():
            receiver = await stack.enter_async_context(SplunkReceiver())
            created[label] = await gateway.api.create(receiver, filter=chosen), receiver
        await gateway.api.accept(lines)
        for label, (destination, receiver) in created.items():
            books = await gateway.api.until_settled(destination)
            assert receiver.events == by_id([lines[number] for number in expected[label]]), label
            assert (books["accepted"], books["filtered"]) == (4, 4 - len(expected[label]))
        destination, receiver = created["none"]
        await gateway.api.change(destination, filter=None)
        more = events(3)
        await gateway.api.accept(more)
        await gateway.api.until_settled(destination)
        assert receiver.events == by_id(more)


async def test_a_backfill_is_for_one_destination(gateway: GatewayProcess) -> None:
    """What is backfilled arrives at the named destination alone and only events of its tenant are taken; a long one
    goes through beside live events.
    """
    async with SplunkReceiver() as receiver, SplunkReceiver() as other, SplunkReceiver() as everything:
        one, two = [await gateway.api.create(it, tenant_id="tenant-a") for it in (receiver, other)]
        of_all = await gateway.api.create(everything)
        export, live = events(8_000), events(100)
        path = f"{SIEM}/{one}/backfill"
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.api.accept(export, path))
            group.create_task(gateway.api.accept(live))
        answer = await gateway.api.post_lines([event(tenant_id="tenant-b"), export[0]], path)
        assert (answer.status, answer.json()["accepted"]) == (207, 1)
        assert (await gateway.api.until_settled(one))["delivered"] == 8_101
        assert receiver.events == by_id(export + live)
        for destination, elsewhere in ((two, other), (of_all, everything)):
            assert (await gateway.api.until_settled(destination))["accepted"] == 100
            assert elsewhere.events == by_id(live)


def splunk(receiver: SplunkReceiver) -> dict[str, object]:
    return {"provider": "splunk", "endpoint": receiver.endpoint, **receiver.credentials}
