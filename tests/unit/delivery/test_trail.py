"""Who changed what: kept, and emitted as audit events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config import Activity
from gateway.delivery.trail import Actor, Subjected, Trail
from gateway.destinations.history import Action, Change
from gateway.errors import QueueFull
from gateway.event import Rules, check
from gateway.queue import Entry
from tests.clock import ManualClock
from tests.stores import MemoryStore

ABOUT = Subjected("acme", "siem_1", "Main")
KEY = Actor("key_1", "Somebody")


class Log:
    """The queue, as far as a trail uses it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.fault: Exception | None = None

    async def append(self, entries: Sequence[Entry]) -> None:
        if self.fault is not None:
            raise self.fault
        self.entries += entries

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for entry in self.entries for line in entry.payload.split(b"\n")]


class House:
    def __init__(self, settings: Activity | None = None) -> None:
        self.store, self.log = MemoryStore(), Log()
        self.trail = Trail(self.store, self.log, settings or Activity(), instance="gw", clock=ManualClock())  # type: ignore[arg-type]  # a queue that only appends

    async def record(self, action: Action, about: Subjected, actor: Actor, *changes: Change) -> None:
        await self.trail.record([self.trail.entry(action, about, actor, changes)])


async def test_a_change_is_kept_and_emitted_to_its_tenant() -> None:
    """As an event that ingest would take, with the key that did it."""
    house = House()
    await house.record(Action.DISABLED, ABOUT, KEY, Change("enabled", True, False))
    (kept,) = house.store.contents.activities
    assert (kept.action, kept.tenant_id, kept.destination_id, kept.key_id) == (
        Action.DISABLED,
        "acme",
        "siem_1",
        "key_1",
    )
    (entry,) = house.log.entries
    assert (entry.subject.name, entry.count) == ("acme", 1)
    assert check(entry.payload, Rules(event_bytes_max=1 << 16, tenant_id="acme")).accepted == 1
    (event,) = house.log.events
    assert (event["actor_type"], event["actor_id"], event["action"]) == (
        "API_KEY",
        "key_1",
        "siem.destination.disabled",
    )
    assert (event["service"], event["resource_type"], event["resource_id"]) == (
        "siem-gateway",
        "siem_destination",
        "siem_1",
    )
    assert event["metadata"] == {
        "destination_name": "Main",
        "destination_tenant_id": "acme",
        "instance": "gw",
        "changes": [{"field": "enabled", "from": True, "to": False}],
        "key_name": "Somebody",
    }


async def test_what_the_gateway_finds_is_its_own_doing() -> None:
    """A system's event, a failure where it is one."""
    house = House()
    for action, outcome in (
        (Action.DEGRADED, "FAILURE"),
        (Action.FAILED, "FAILURE"),
        (Action.RECOVERED, "SUCCESS"),
    ):
        await house.record(action, ABOUT, Actor())
        event = house.log.events[-1]
        assert (event["actor_type"], event["actor_id"], event["outcome"]) == ("SYSTEM", "siem-gateway", outcome)


async def test_events_do_not_repeat_what_may_be_secret() -> None:
    """An endpoint, a header and a credential are named and not shown; the kept entry has what the API may show."""
    house = House()
    changes = [
        Change("endpoint", "https://a/hook/secret", "https://b/hook/secret"),
        Change("options.headers", None, {"Authorization": "secret"}),
        Change("token", "***", "***"),
        Change("name", "old", "new"),
    ]
    await house.record(Action.UPDATED, ABOUT, KEY, *changes)
    assert b"secret" not in house.log.entries[0].payload
    assert house.log.events[0]["metadata"]["changes"] == [
        {"field": "endpoint"},
        {"field": "options.headers"},
        {"field": "token"},
        {"field": "name", "from": "old", "to": "new"},
    ]
    assert house.store.contents.activities[0].changes == tuple(changes)


async def test_a_destination_of_all_tenants_tells_the_tenant_of_the_settings() -> None:
    """No tenant's stream is the place for what an operator does."""
    house = House(Activity(tenant="platform"))
    await house.record(Action.CREATED, Subjected("*", "siem_1", "All"), KEY)
    assert house.log.entries[0].subject.name == "platform"
    assert house.log.events[0]["tenant_id"] == "platform"
    assert house.store.contents.activities[0].tenant_id == "*"


async def test_a_destination_of_all_tenants_tells_nobody_unasked() -> None:
    """It gets what producers posted; what was done to it is kept all the same."""
    house = House()
    await house.record(Action.CREATED, Subjected("*", "siem_1", "All"), KEY)
    assert house.log.entries == []
    assert len(house.store.contents.activities) == 1


async def test_several_go_together() -> None:
    """One append and one writing, however many; each to its own tenant."""
    house = House()
    other = Subjected("other", "siem_2", "Second")
    await house.trail.record([house.trail.entry(Action.DEGRADED, about, Actor()) for about in (ABOUT, other, ABOUT)])
    assert [(entry.subject.name, entry.count) for entry in house.log.entries] == [("acme", 2), ("other", 1)]
    assert len(house.store.contents.activities) == 3


async def test_keys_are_kept_and_not_emitted() -> None:
    """And where emitting is switched off, nothing is emitted at all."""
    house = House()
    await house.record(Action.KEY_CREATED, Subjected("acme"), KEY)
    quiet = House(Activity(emit=False))
    await quiet.record(Action.CREATED, ABOUT, KEY)
    assert house.log.entries == quiet.log.entries == []
    assert len(house.store.contents.activities) == len(quiet.store.contents.activities) == 1


@pytest.mark.parametrize("fault", [QueueFull("full", retry_after_s=1), OSError("disk")])
async def test_a_queue_that_fails_costs_the_event_alone(fault: Exception) -> None:
    """The change stands and is kept; the log says what is missing."""
    house = House()
    house.log.fault = fault
    with capture_logs() as logs:
        await house.record(Action.CREATED, ABOUT, KEY)
    assert [(line["event"], line["actions"]) for line in logs] == [("activity.failed", ["siem.destination.created"])]
    assert len(house.store.contents.activities) == 1


async def test_a_store_that_is_away_costs_the_entry_alone() -> None:
    """The event is emitted; the log says what is missing."""
    house = House()
    house.store.contents.away = True
    with capture_logs() as logs:
        await house.record(Action.CREATED, ABOUT, KEY)
    assert [line["event"] for line in logs] == ["activity.failed"]
    assert len(house.log.entries) == 1
