"""What may be done to destinations, with the real providers and the rules of the real egress guard."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.config import Egress
from gateway.destinations.catalog import Catalog
from gateway.destinations.secrets import SecretBox
from gateway.destinations.service import DestinationService, settings_of
from gateway.destinations.store import Destination, Filter
from gateway.errors import Conflict, NotFound, RequestRejected, StoreError, StoreUnavailable
from gateway.providers import PROVIDERS
from gateway.providers.codec import Secret
from gateway.providers.egress import check_url
from gateway.providers.tls import check_tls
from tests.certificates import make_certificate
from tests.clock import ManualClock
from tests.stores import MemoryContents, MemoryStore

KEY = "a key of the tests"
SPLUNK = {
    "provider": "splunk",
    "endpoint": "https://hec.splunk.example.com:8088/services/collector",
    "token": "your-hec-token",
    "enabled": True,
}
REQUIRED = {
    "splunk": {"token": "t"},
    "datadog": {"token": "t"},
    "cloudwatch": {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "s"},
    "elastic": {"token": "id:key"},
    "webhook": {"secret": "a shared secret of some length"},
}


class World:
    def __init__(self, contents: MemoryContents, key: str = KEY) -> None:
        self.clock = ManualClock()
        self.catalog = Catalog(MemoryStore(contents))
        self.secret_box = SecretBox(key)
        self.service = DestinationService(
            self.catalog,
            secret_box=self.secret_box,
            providers=PROVIDERS,
            check_endpoint=functools.partial(check_url, policy=Egress()),
            check_settings=functools.partial(check_tls, policy=Egress(), clock=self.clock),
            clock=self.clock,
        )

    async def create(self, given: Mapping[str, object], tenant_id: str = "*") -> Destination:
        return await self.service.create(given, tenant_id=tenant_id, may_choose_tenant=tenant_id == "*")

    async def errors_of(self, given: Mapping[str, object]) -> dict[str, str]:
        with pytest.raises(RequestRejected) as caught:
            await self.create(given)
        assert caught.value.status == 422
        return dict(caught.value.errors)

    def credentials(self, destination: Destination) -> Mapping[str, Secret]:
        return settings_of(destination, self.secret_box).credentials


@pytest.fixture
def contents() -> MemoryContents:
    return MemoryContents()


@pytest.fixture
async def world(contents: MemoryContents) -> World:
    world = World(contents)
    await world.catalog.start()
    return world


# -- create


async def test_the_public_pages_request_is_taken(world: World, contents: MemoryContents) -> None:
    """What is stored is what was given; the endpoint stays letter by letter, the token is sealed."""
    created = await world.create(SPLUNK)
    assert created == replace(
        created,
        tenant_id="*",
        provider="splunk",
        endpoint=SPLUNK["endpoint"],
        enabled=True,
        name="Splunk destination",
        options={},
        filter=Filter(),
        credentials_set=("token",),
        created_at_s=world.clock.time_s(),
        updated_at_s=world.clock.time_s(),
        revision=1,
        ordered=False,
        deleting=False,
    )
    assert created.id.startswith("siem_")
    assert b"your-hec-token" not in created.sealed_credentials
    assert world.credentials(created) == {"token": Secret("your-hec-token")}
    assert contents.destinations == {created.id: created}
    assert world.catalog.destination(created.id) == created


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_each_providers_example_is_taken(world: World, provider: str) -> None:
    """The example endpoint and the required credentials are all that is needed; each of them is needed."""
    given = {"provider": provider, "endpoint": PROVIDERS[provider].example_endpoint, **REQUIRED[provider]}
    created = await world.create(given)
    assert created.enabled
    assert created.endpoint == PROVIDERS[provider].example_endpoint
    assert PROVIDERS[provider].build(world.service.settings_of(created)) is not None
    for name in REQUIRED[provider]:
        without = {member: value for member, value in given.items() if member != name}
        assert await world.errors_of(without) == {name: "a value is required"}


async def test_everything_that_can_be_chosen(world: World) -> None:
    """Name, state, order, filter and options are stored as they are given."""
    created = await world.create(
        {
            **SPLUNK,
            "endpoint": "  hec.splunk.example.com:8088 ",
            "enabled": False,
            "name": "Mine",
            "ordered": True,
            "tenant_id": "t1",
            "filter": {"actions": ["a.*"]},
            "options": {"index": "main", "ack": True, "host": ""},
        }
    )
    assert (created.endpoint, created.enabled, created.name) == ("hec.splunk.example.com:8088", False, "Mine")
    assert (created.ordered, created.tenant_id, created.filter) == (True, "t1", Filter(actions=("a.*",)))
    assert created.options == {"index": "main", "ack": True}


async def test_a_client_certificate_that_cannot_be_used_is_refused(world: World, contents: MemoryContents) -> None:
    """On creation, on a change of the certificate and on one of the endpoint; the fault stands at its field."""
    assert await world.errors_of({**SPLUNK, "client_certificate": "x", "client_key": "y"}) == {
        "client_certificate": "is not a certificate in PEM form"
    }
    assert (await world.errors_of({**SPLUNK, "options": {"tls_verify": False}})).keys() == {"options.tls_verify"}
    created = await world.create({**SPLUNK, "options": {"server_name": "hec.internal"}})
    with pytest.raises(RequestRejected, match="client_certificate: a value is required"):
        await world.service.update(created.id, {"client_key": "y"})
    assert contents.destinations == {created.id: created}


async def test_a_certificate_that_ran_out_keeps_nobody_from_switching_off(world: World, tmp_path: Path) -> None:
    """What is not about the connection can be changed; what is, and to switch it on again, needs a new certificate."""
    made = await asyncio.to_thread(make_certificate, tmp_path, "client.example")
    world.clock.jump_wall(time.time() - world.clock.time_s())
    pair = {"client_certificate": made.certificate, "client_key": made.key}
    created = await world.create({**SPLUNK, **pair})
    world.clock.jump_wall(2 * 86_400)
    assert (await world.service.update(created.id, {"name": "n", "enabled": False})).enabled is False
    for change in (
        {"enabled": True},
        {"endpoint": "https://h.example"},
        {"options": {"index": "main"}},
        {"token": "t"},
    ):
        with pytest.raises(RequestRejected, match="client_certificate: has expired"):
            await world.service.update(created.id, change)
    await world.service.update(created.id, {"enabled": True, "client_certificate": None, "client_key": None})


async def test_nothing_is_stored_of_what_is_refused(world: World, contents: MemoryContents) -> None:
    """All errors come at once, each at its member, without the values of credentials."""
    found = await world.errors_of(
        {"provider": "splunk", "endpoint": "ftp://x", "token": "hunter2\n2", "enabled": "x", "options": {"index": "A"}}
    )
    assert sorted(found) == ["enabled", "endpoint", "options.index", "token"]
    assert "hunter2" not in str(found)
    assert contents.destinations == {}


@pytest.mark.parametrize("endpoint", [None, "", "   ", "https://", "https://u:p@h.example.com", "https://h:99999/", 7])
async def test_endpoints_that_are_none(world: World, endpoint: object) -> None:
    """The error stands at the endpoint, once."""
    assert list(await world.errors_of({**SPLUNK, "endpoint": endpoint})) == ["endpoint"]


@pytest.mark.parametrize("endpoint", ["http://h.example.com:8088", "https://127.0.0.1:8088", "https://localhost:8088"])
async def test_endpoints_that_may_not_be_reached(world: World, endpoint: str) -> None:
    """The egress rules speak when a destination is saved, not only when it is used."""
    assert "egress." in (await world.errors_of({**SPLUNK, "endpoint": endpoint}))["endpoint"]


async def test_the_provider_comes_first(world: World) -> None:
    """Missing, unknown or no text: nothing else is judged, and the nearest one is named."""
    assert "splunk, datadog" in (await world.errors_of({"endpoint": 7}))["provider"]
    assert "nearest known one is splunk" in (await world.errors_of({**SPLUNK, "provider": "splnk"}))["provider"]
    assert list(await world.errors_of({**SPLUNK, "provider": ["splunk"]})) == ["provider"]


async def test_what_a_codec_refuses_is_an_error_at_its_member(world: World) -> None:
    """The provider's own check of the whole comes last: a region that neither option nor endpoint tells."""
    given = {"provider": "cloudwatch", "endpoint": "https://logs.example.com", **REQUIRED["cloudwatch"]}
    found = await world.errors_of(given)
    assert len(found) == 1
    assert "region" in str(found)


async def test_tenants(world: World) -> None:
    """A tenant's key makes destinations of its tenant alone; an operator chooses, and has all when not choosing."""
    assert (await world.create(SPLUNK, "t1")).tenant_id == "t1"
    assert (await world.create({**SPLUNK, "tenant_id": "t1"}, "t1")).tenant_id == "t1"
    assert (await world.create({**SPLUNK, "tenant_id": "t2"})).tenant_id == "t2"
    assert (await world.create({**SPLUNK, "tenant_id": "*"})).tenant_id == "*"
    for foreign in ("t2", "*"):
        with pytest.raises(RequestRejected) as caught:
            await world.create({**SPLUNK, "tenant_id": foreign}, "t1")
        assert (caught.value.status, caught.value.errors[0][0]) == (403, "tenant_id")


async def test_there_is_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant's script cannot fill the gateway with destinations without end."""
    monkeypatch.setattr("gateway.destinations.service.DESTINATIONS_MAX", 1)
    await world.create(SPLUNK)
    with pytest.raises(RequestRejected) as caught:
        await world.create(SPLUNK)
    assert caught.value.status == 409


async def test_a_draft_is_not_stored(world: World, contents: MemoryContents) -> None:
    """It can be tested before it is saved."""
    draft = world.service.draft(SPLUNK, tenant_id="*", may_choose_tenant=True)
    assert world.service.settings_of(draft).credentials == {"token": Secret("your-hec-token")}
    assert contents.destinations == {}


# -- update


async def test_an_update_changes_only_what_is_given(world: World, contents: MemoryContents) -> None:
    """The other members, the credentials among them, stay; revision and time of change move."""
    created = await world.create({**SPLUNK, "options": {"index": "main"}, "filter": {"actions": ["a"]}})
    world.clock.advance(5)
    changed = await world.service.update(created.id, {"name": "New"})
    assert changed == replace(created, name="New", revision=2, updated_at_s=created.updated_at_s + 5)
    assert contents.destinations[created.id] == changed
    assert world.catalog.destination(created.id) == changed


async def test_the_public_pages_update(world: World) -> None:
    """Endpoint, token and enabled in one request; enabled asks for streaming to start again."""
    created = await world.create(SPLUNK)
    world.clock.advance(5)
    changed = await world.service.update(
        created.id, {"endpoint": "https://hec-new.example.com:8088", "token": "new", "enabled": True}
    )
    assert changed.endpoint == "https://hec-new.example.com:8088"
    assert world.credentials(changed) == {"token": Secret("new")}
    assert changed.resumed_at_s == world.clock.time_s()


async def test_enabling_is_a_change_even_when_nothing_else_changes(world: World) -> None:
    """It re-enables a failed destination each time; any other change that changes nothing is none."""
    created = await world.create(SPLUNK)
    assert await world.service.update(created.id, {}) is created
    assert await world.service.update(created.id, {"ordered": False, "endpoint": SPLUNK["endpoint"]}) is created
    first = await world.service.update(created.id, {"enabled": True})
    world.clock.advance(1)
    second = await world.service.update(created.id, {"enabled": True})
    assert (first.revision, second.revision) == (2, 3)
    assert second.resumed_at_s == first.resumed_at_s + 1
    disabled = await world.service.update(created.id, {"enabled": False})
    assert (disabled.enabled, disabled.resumed_at_s) == (False, second.resumed_at_s)


async def test_options_are_merged_and_the_filter_is_replaced(world: World) -> None:
    """Options that are given change, null takes one away, the others stay; a filter is given whole."""
    created = await world.create(
        {**SPLUNK, "options": {"index": "main", "source": "s", "host": "h"}, "filter": {"actions": ["a"]}}
    )
    changed = await world.service.update(
        created.id, {"options": {"index": "audit", "source": None}, "filter": {"outcomes": ["DENIED"]}}
    )
    assert changed.options == {"index": "audit", "host": "h"}
    assert changed.filter == Filter(outcomes=("DENIED",))
    cleared = await world.service.update(created.id, {"filter": None, "name": None})
    assert (cleared.filter, cleared.name) == (Filter(), "Splunk destination")


async def test_credentials_are_replaced_one_by_one(world: World) -> None:
    """The others stay; an optional one is taken away with null, a required one cannot be."""
    given = {"provider": "webhook", "endpoint": "https://hooks.example.com/x", "secret": "a" * 32}
    created = await world.create({**given, "previous_secret": "b" * 32})
    assert created.credentials_set == ("previous_secret", "secret")
    changed = await world.service.update(created.id, {"secret": "c" * 32})
    assert world.credentials(changed) == {"secret": Secret("c" * 32), "previous_secret": Secret("b" * 32)}
    changed = await world.service.update(created.id, {"credentials": {"previous_secret": None}})
    assert (changed.credentials_set, world.credentials(changed)) == (("secret",), {"secret": Secret("c" * 32)})
    with pytest.raises(RequestRejected) as caught:
        await world.service.update(created.id, {"secret": None})
    assert caught.value.errors == (("secret", "a value is required"),)


async def test_provider_and_tenant_are_fixed(world: World) -> None:
    """The same value is fine, another is an error at its member."""
    created = await world.create(SPLUNK)
    assert await world.service.update(created.id, {"provider": "splunk", "tenant_id": "*"}) is created
    for name, value in (("provider", "datadog"), ("tenant_id", "t1"), ("provider", ["splunk"])):
        with pytest.raises(RequestRejected) as caught:
            await world.service.update(created.id, {name: value})
        assert [field for field, _ in caught.value.errors] == [name]
        assert caught.value.status == 422


async def test_what_was_read_can_be_sent_back(world: World) -> None:
    """Members that only the gateway sets are passed over in an update; in a new destination they are unknown."""
    created = await world.create(SPLUNK)
    read = {
        "id": created.id,
        "provider": "splunk",
        "status": "active",
        "created_at": "2026-06-30T12:00:00Z",
        "updated_at": "2026-06-30T12:00:00Z",
        "credentials_set": ["token"],
        "health": {"pending_events": 0},
        "deleting": False,
    }
    assert (await world.service.update(created.id, {**read, "name": "New"})).name == "New"
    assert list(await world.errors_of({**SPLUNK, "status": "active"})) == ["status"]


async def test_a_change_is_checked_like_a_new_destination(world: World, contents: MemoryContents) -> None:
    """Every error, and nothing is stored."""
    created = await world.create(SPLUNK)
    with pytest.raises(RequestRejected) as caught:
        await world.service.update(created.id, {"endpoint": "https://10.0.0.1", "tokn": "x", "enabled": 1})
    assert sorted(field for field, _ in caught.value.errors) == ["enabled", "endpoint", "tokn"]
    assert contents.destinations[created.id] == created


async def test_what_is_not_there_cannot_be_changed(world: World) -> None:
    """NotFound, for each operation on one destination."""
    for attempt in (
        world.service.update("siem_none", {"name": "x"}),
        world.service.mark_deleting("siem_none"),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(NotFound):
        world.service.draft_update("siem_none", {})


async def test_another_gateways_change_is_taken_up(world: World, contents: MemoryContents) -> None:
    """Both changes are in the result, though this gateway had not heard of the other's yet."""
    created = await world.create(SPLUNK)
    contents.destinations[created.id] = replace(created, name="Theirs", revision=2)
    changed = await world.service.update(created.id, {"ordered": True})
    assert (changed.name, changed.ordered, changed.revision) == ("Theirs", True, 3)
    contents.destinations[created.id] = replace(changed, name="Again", revision=4)
    marked = await world.service.mark_deleting(created.id)
    assert (marked.name, marked.deleting, marked.revision) == ("Again", True, 5)


async def test_a_quarrel_ends(world: World, contents: MemoryContents, monkeypatch: pytest.MonkeyPatch) -> None:
    """When others change it in between every time, the caller is told after a few tries."""
    created = await world.create(SPLUNK)
    refresh = world.catalog.refresh

    async def refresh_and_lose() -> None:
        await refresh()
        stored = contents.destinations[created.id]
        contents.destinations[created.id] = replace(stored, revision=stored.revision + 1)

    monkeypatch.setattr(world.catalog, "refresh", refresh_and_lose)
    contents.destinations[created.id] = replace(created, revision=2)
    with pytest.raises(Conflict):
        await world.service.update(created.id, {"name": "New"})


async def test_an_update_can_be_tried_before(world: World, contents: MemoryContents) -> None:
    """The draft has the stored credentials and the new endpoint, and nothing is stored."""
    created = await world.create(SPLUNK)
    draft = world.service.draft_update(created.id, {"endpoint": "https://new.example.com:8088"})
    assert draft.endpoint == "https://new.example.com:8088"
    assert world.credentials(draft) == {"token": Secret("your-hec-token")}
    assert contents.destinations[created.id] == created


async def test_a_lost_secret_key_can_be_mended(world: World, contents: MemoryContents) -> None:
    """Credentials that cannot be opened: they may be given again and the destination disabled, but not merely kept."""
    created = await world.create(SPLUNK)
    other = World(contents, key="another key of the tests")
    await other.catalog.start()
    with pytest.raises(StoreError):
        other.service.settings_of(created)
    with pytest.raises(RequestRejected) as caught:
        await other.service.update(created.id, {"name": "New"})
    assert caught.value.errors[0][0] == "credentials"
    assert not (await other.service.update(created.id, {"enabled": False})).enabled
    mended = await other.service.update(created.id, {"token": "again", "enabled": True})
    assert other.credentials(mended) == {"token": Secret("again")}


# -- delete


async def test_deleting_takes_two_steps(world: World, contents: MemoryContents) -> None:
    """Marked: no change is taken any more. Removed: gone, also when it was gone already."""
    created = await world.create(SPLUNK)
    marked = await world.service.mark_deleting(created.id)
    assert (marked.deleting, marked.revision, contents.destinations[created.id]) == (True, 2, marked)
    assert await world.service.mark_deleting(created.id) is marked
    with pytest.raises(Conflict, match="being deleted"):
        await world.service.update(created.id, {"enabled": True})
    with pytest.raises(Conflict):
        world.service.draft_update(created.id, {})
    await world.service.remove(created.id)
    await world.service.remove(created.id)
    assert contents.destinations == {}
    assert world.catalog.destination(created.id) is None


async def test_a_provider_of_a_later_gateway_is_left_alone(world: World, contents: MemoryContents) -> None:
    """A shared store may hold what this version does not know: it cannot be changed here, but deleted."""
    created = await world.create(SPLUNK)
    contents.destinations[created.id] = replace(created, provider="chronicle")
    await world.catalog.refresh()
    with pytest.raises(Conflict, match="chronicle"):
        await world.service.update(created.id, {"name": "New"})
    assert (await world.service.mark_deleting(created.id)).deleting


async def test_without_the_store_nothing_changes(world: World, contents: MemoryContents) -> None:
    """StoreUnavailable comes through, and the view stays."""
    created = await world.create(SPLUNK)
    contents.away = True
    for attempt in (
        world.create(SPLUNK),
        world.service.update(created.id, {"name": "New"}),
        world.service.mark_deleting(created.id),
        world.service.remove(created.id),
    ):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert dict(world.catalog.destinations()) == {created.id: created}
