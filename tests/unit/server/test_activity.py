"""Who changed what, over HTTP, and the events that tell it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.config import Activity, RetryPolicy
from gateway.delivery.health import Status
from gateway.providers.codec import Reply
from gateway.quantity import Seconds
from tests.events import event
from tests.loopback_gateway import OPERATOR, Gateway, stored
from tests.unit.server.conftest import Start

SIEM = "/v1/audit/siem"


async def activity(gateway: Gateway, path: str = "/v1/audit/activity", key: str = OPERATOR) -> list[dict[str, Any]]:
    answer = await gateway.ask("GET", path, key=key)
    assert answer.status == 200, answer.body
    assert answer.json.keys() == {"data", "next_cursor"}
    found: list[dict[str, Any]] = answer.json["data"]
    return found


async def actions(gateway: Gateway, destination_id: str) -> list[str]:
    """The oldest first."""
    found = await activity(gateway, f"{SIEM}/{destination_id}/activity")
    return [entry["action"].removeprefix("siem.destination.") for entry in reversed(found)]


async def test_every_change_of_a_destination_is_an_entry(gateway: Gateway) -> None:
    """Who, when, what, from what and to what; a credential by its name alone."""
    key = await gateway.make_key("acme", name="Somebody")
    destination = await gateway.make_destination(key=key, name="Main")
    path = f"{SIEM}/{destination}"
    gateway.clock.advance(1)
    await gateway.ask("PUT", path, key=key, json={"name": "New", "secret": "y" * 32, "enabled": False})
    gateway.clock.advance(1)
    await gateway.ask("PUT", path, key=key, json={"name": "New"})
    await gateway.ask("PUT", path, key=key, json={"enabled": True})
    assert await actions(gateway, destination) == ["created", "updated", "disabled", "enabled"]
    entries = await activity(gateway, f"{path}/activity")
    (updated,) = [entry for entry in entries if entry["action"].endswith("updated")]
    assert updated == {
        "id": updated["id"],
        "at": "2026-06-30T12:35:01.000Z",
        "action": "siem.destination.updated",
        "destination_id": destination,
        "destination_name": "New",
        "tenant_id": "acme",
        "actor": {"key_id": updated["actor"]["key_id"], "key_name": "Somebody"},
        "changes": [
            {"field": "name", "from": "Main", "to": "New"},
            {"field": "secret", "from": "***", "to": "***"},
        ],
    }
    assert updated["actor"]["key_id"].startswith("key_")
    assert entries[0]["changes"] == [{"field": "enabled", "from": False, "to": True}]


async def test_changes_at_once_are_told_apart(gateway: Gateway) -> None:
    """Each names what it changed itself, and not what another changed meanwhile."""
    destination = await gateway.make_destination()
    changes: list[dict[str, object]] = [{"name": "New"}, {"ordered": True}, {"filter": {"actions": ["a.*"]}}]
    await asyncio.gather(*(gateway.ask("PUT", f"{SIEM}/{destination}", json=change) for change in changes))
    entries = [entry for entry in await activity(gateway) if entry["action"] == "siem.destination.updated"]
    told = sorted([change["field"] for change in entry["changes"]] for entry in entries)
    assert told == [["filter.actions"], ["name"], ["ordered"]]


async def test_a_deletion_is_told_once_and_outlives_the_destination(streaming: Gateway) -> None:
    """However often it is asked for, also at once."""
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event())
    for _ in range(2):
        await asyncio.gather(*(streaming.ask("DELETE", f"{SIEM}/{destination}?timeout=0") for _ in range(5)))
    await streaming.ask("DELETE", f"{SIEM}/{destination}?force=true")
    await streaming.until(lambda: destination not in streaming.catalog.destinations())
    assert (await streaming.ask("GET", f"{SIEM}/{destination}/activity")).status == 404
    entries = [entry for entry in await activity(streaming) if entry["destination_id"] == destination]
    assert [entry["action"] for entry in entries].count("siem.destination.deleted") == 1


async def test_a_failed_destination_that_is_enabled_again(start: Start) -> None:
    """Its outage, its failure and the hand that mended it, in this order."""
    streaming = await start(retry=RetryPolicy(window_s=Seconds(600)), streams=True)
    destination = await streaming.make_destination()
    streaming.wire.answer = lambda _: Reply(401, {}, b"token was revoked")
    await streaming.post(event())
    await streaming.until(lambda: _status(streaming, destination) is Status.FAILED)
    streaming.wire.answer = lambda _: Reply(200, {}, b"")
    await _pass(streaming, 3)
    await streaming.ask("PUT", f"{SIEM}/{destination}", json={"enabled": True})
    assert await actions(streaming, destination) == ["created", "degraded", "failed", "enabled"]
    enabled, failed, degraded, _ = await activity(streaming, f"{SIEM}/{destination}/activity")
    assert enabled["changes"] == [{"field": "status", "from": "failed", "to": "active"}]
    assert failed["actor"] == {"key_id": None, "key_name": None}
    assert failed["changes"][0] == {"field": "status", "from": "degraded", "to": "failed"}
    assert failed["changes"][1]["to"].startswith("Retries ran out; 1 event was dropped.")
    assert "token was revoked" in degraded["changes"][1]["to"]


async def test_keys_that_are_made_and_revoked(gateway: Gateway) -> None:
    """Under the tenant of the key; neither the key nor its digest is in it."""
    made = await gateway.ask(
        "POST", "/v1/audit/keys", json={"name": "Reader", "tenant_id": "acme", "scopes": ["siem:read"]}
    )
    await gateway.ask("DELETE", f"/v1/audit/keys/{made.json['id']}")
    revoked, created = await activity(gateway)
    assert (created["action"], revoked["action"]) == ("key.created", "key.revoked")
    assert created["tenant_id"] == revoked["tenant_id"] == "acme"
    assert created["destination_id"] is None
    assert created["changes"] == [
        {"field": "key", "from": None, "to": made.json["id"]},
        {"field": "name", "from": None, "to": "Reader"},
        {"field": "scopes", "from": None, "to": ["siem:read"]},
    ]
    assert revoked["changes"][0] == {"field": "key", "from": made.json["id"], "to": None}
    assert made.json["key"].encode() not in (await gateway.ask("GET", "/v1/audit/activity")).body


async def test_a_tenant_sees_its_own_alone(gateway: Gateway) -> None:
    """Another tenant's destination is not found, and nothing of it is in the list."""
    key = await gateway.make_key("acme")
    mine = await gateway.make_destination(key=key)
    other = await gateway.make_destination(tenant_id="other")
    for_all = await gateway.make_destination()
    assert {entry["tenant_id"] for entry in await activity(gateway, key=key)} == {"acme"}
    assert [entry["action"] for entry in await activity(gateway, f"{SIEM}/{mine}/activity", key)] == [
        "siem.destination.created"
    ]
    for foreign in (other, for_all):
        assert (await gateway.ask("GET", f"{SIEM}/{foreign}/activity", key=key)).status == 404
    assert {entry["tenant_id"] for entry in await activity(gateway)} == {"acme", "other", "*"}


async def test_it_is_read_page_by_page(gateway: Gateway) -> None:
    """Newest first, each entry once."""
    for number in range(5):
        gateway.clock.advance(1)
        await gateway.make_destination(name=str(number))
    names: list[str] = []
    query = "limit=2"
    while True:
        answer = await gateway.ask("GET", f"/v1/audit/activity?{query}")
        names += [entry["destination_name"] for entry in answer.json["data"]]
        if answer.json["next_cursor"] is None:
            break
        query = f"limit=2&cursor={answer.json['next_cursor']}"
    assert names == ["4", "3", "2", "1", "0"]
    assert (await gateway.ask("GET", "/v1/audit/activity?cursor=x")).status == 400


async def test_changes_are_events_of_the_tenant(start: Start) -> None:
    """Durable in the queue before the answer, where every destination of the tenant gets them; in its books as well."""
    gateway = await start(activity=Activity(tenant="platform"))
    consumer = await gateway.watch()
    destination = await gateway.make_destination(tenant_id="acme", name="Main")
    await gateway.ask("PUT", f"{SIEM}/{destination}", json={"enabled": False})
    await gateway.make_destination(name="All")
    emitted = [json.loads(line) for line in await stored(consumer)]
    assert [(item["action"], item["tenant_id"]) for item in emitted] == [
        ("siem.destination.created", "acme"),
        ("siem.destination.disabled", "acme"),
        ("siem.destination.created", "platform"),
    ]
    assert (await gateway.ledger(destination))["accepted"] == 2


async def test_a_queue_that_refuses_does_not_refuse_the_change(start: Start) -> None:
    """The change is stored and answered; only its event is missing."""
    gateway = await start(activity=Activity())
    destination = await gateway.make_destination()
    gateway.queue.refuse_appends()
    answer = await gateway.ask("PUT", f"{SIEM}/{destination}", json={"name": "New"})
    assert (answer.status, answer.json["name"]) == (200, "New")
    assert await actions(gateway, destination) == ["created", "updated"]


async def test_an_event_about_an_outage_causes_no_further_one(start: Start) -> None:
    """It waits with the others for the destination that it tells of, and arrives with the news that all is well."""
    streaming = await start(activity=Activity(), streams=True)
    destination = await streaming.make_destination(tenant_id="acme", options={"format": "ndjson"})
    await streaming.settled(destination)
    streaming.wire.answer = lambda _: Reply(503, {}, b"")
    await streaming.post(event())
    consumer = streaming.queue.consumer(destination)
    assert consumer is not None
    await streaming.until(lambda: consumer.ledger().pending == 2)  # what is emitted takes the time of the disk
    await _pass(streaming, 600)
    assert (await streaming.ledger(destination))["pending"] == 2
    streaming.wire.answer = lambda _: Reply(200, {}, b"")
    await streaming.until(lambda: consumer.ledger().accepted == 4)
    await _pass(streaming, 60)
    await streaming.settled(destination)
    books = await streaming.ledger(destination)
    assert (books["accepted"], books["delivered"], books["balanced"]) == (4, 4, True)
    told = [json.loads(line)["action"] for line in streaming.wire.lines if b"siem.destination." in line]
    assert list(dict.fromkeys(told)) == [
        "siem.destination.created",
        "siem.destination.degraded",
        "siem.destination.recovered",
    ]


def _status(gateway: Gateway, destination_id: str) -> Status | None:
    health = gateway.supervisor.health(destination_id)
    return health.status if health is not None else None


async def _pass(gateway: Gateway, seconds: float) -> None:
    until_s = gateway.clock.monotonic_s() + seconds
    await gateway.until(lambda: gateway.clock.monotonic_s() >= until_s)


async def test_a_change_is_told_of_whoever_made_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another one stored while a change was being verified is not told a second time, as this one's."""
    destination = await gateway.make_destination(name="Main")
    is_testing, tested = gateway.hold_tests(monkeypatch)
    slow = asyncio.create_task(gateway.ask("PATCH", f"{SIEM}/{destination}?verify=true", json={"name": "New"}))
    await is_testing.wait()
    assert (await gateway.ask("PATCH", f"{SIEM}/{destination}", json={"enabled": False})).status == 200
    tested.set()
    assert (await slow).status == 200
    updated, disabled, _ = await activity(gateway, f"{SIEM}/{destination}/activity")
    assert disabled["changes"] == [{"field": "enabled", "from": True, "to": False}]
    assert updated["changes"] == [{"field": "name", "from": "Main", "to": "New"}]
