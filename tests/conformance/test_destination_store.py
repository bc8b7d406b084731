"""One suite for every DestinationStore: SQLite, a real PostgreSQL, and the one in memory that tests use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from gateway.destinations.store import ApiKey, Destination, DestinationStore, Filter, Scope, Snapshot
from gateway.errors import Conflict, NotFound, StoreUnavailable
from tests.stores import OpenStore

DESTINATION = Destination(
    id="siem_one",
    tenant_id="tenant-ä",
    provider="webhook",
    endpoint="https://hooks.example.com/x?y=1",
    enabled=True,
    name='Name with "quotes" and 漢字',
    options={"headers": {"X-A": "1"}, "tags": ["a", "b"], "number": 7, "flag": False, "text": "a\\u0000b"},
    filter=Filter(actions=("attestation.*",), outcomes=("FAILURE", "DENIED")),
    sealed_credentials=bytes(range(256)),
    credentials_set=("previous_secret", "secret"),
    created_at_s=1_782_822_896.789123,
    updated_at_s=1_782_822_897.000001,
    ordered=True,
    credentials_updated_at_s={"secret": 1_782_822_896.789123},
)
KEY = ApiKey(
    id="key_one",
    tenant_id="*",
    name="Producer",
    scopes=(Scope.EVENTS_WRITE, Scope.SIEM_READ),
    digest="0" * 64,
    prefix="tl_live_abcd",
    created_at_s=1_782_822_896.5,
    expires_at_s=1_800_000_000.25,
)


async def test_a_new_store_is_empty(store: DestinationStore) -> None:
    """Nothing is there at first."""
    assert await store.load() == Snapshot((), ())


async def test_what_is_written_comes_back_equal(store: DestinationStore, open_store: OpenStore) -> None:
    """Every member of a destination and a key survives, in this store and in one that is opened afterwards."""
    disabled = replace(
        DESTINATION, id="siem_two", enabled=False, ordered=False, deleting=True, resumed_at_s=1.5, filter=Filter()
    )
    endless = replace(KEY, id="key_two", digest="1" * 64, expires_at_s=None)
    for destination in (DESTINATION, disabled):
        await store.create_destination(destination)
    for key in (KEY, endless):
        await store.create_key(key)

    expected = Snapshot((DESTINATION, disabled), (KEY, endless))
    assert await store.load() == expected
    await store.close()
    assert await (await open_store()).load() == expected


async def test_the_oldest_come_first(store: DestinationStore) -> None:
    """The order is that of creation, not of writing or of ids."""
    for number, name in enumerate("cab"):
        await store.create_destination(replace(DESTINATION, id=name, created_at_s=100.0 - number))
        await store.create_key(replace(KEY, id=name, digest=name, created_at_s=100.0 - number))
    snapshot = await store.load()
    assert [destination.id for destination in snapshot.destinations] == ["b", "a", "c"]
    assert [key.id for key in snapshot.keys] == ["b", "a", "c"]


async def test_an_id_is_taken_once(store: DestinationStore) -> None:
    """Creating what exists is a conflict and changes nothing; so is a key with the digest of another."""
    await store.create_destination(DESTINATION)
    await store.create_key(KEY)
    with pytest.raises(Conflict):
        await store.create_destination(replace(DESTINATION, name="other"))
    with pytest.raises(Conflict):
        await store.create_key(replace(KEY, digest="2" * 64))
    with pytest.raises(Conflict):
        await store.create_key(replace(KEY, id="key_other"))
    assert await store.load() == Snapshot((DESTINATION,), (KEY,))


async def test_an_update_changes_every_member_but_the_id(store: DestinationStore) -> None:
    """What is read after an update is what was written."""
    await store.create_destination(replace(DESTINATION, id="siem_other"))
    await store.create_destination(DESTINATION)
    changed = Destination(
        id=DESTINATION.id,
        tenant_id="t2",
        provider="splunk",
        endpoint="https://splunk.example.com",
        enabled=False,
        name="changed",
        options={},
        filter=Filter(exclude_actions=("a",), services=("b",), actor_types=("c",)),
        sealed_credentials=b"\0",
        credentials_set=("token",),
        created_at_s=1_900_000_000.0,
        updated_at_s=4.0,
        revision=2,
        ordered=False,
        deleting=True,
        resumed_at_s=5.0,
        credentials_updated_at_s={"token": 6.5},
    )
    await store.update_destination(changed, expected_revision=1)
    assert (await store.load()).destinations == (replace(DESTINATION, id="siem_other"), changed)


async def test_an_update_of_an_old_revision_is_a_conflict(store: DestinationStore, open_store: OpenStore) -> None:
    """Of two changes to the same revision the first wins, and the second learns of it; also from another store."""
    await store.create_destination(DESTINATION)
    other = await open_store()
    first = replace(DESTINATION, name="first", revision=2)
    await other.update_destination(first, expected_revision=1)
    with pytest.raises(Conflict):
        await store.update_destination(replace(DESTINATION, name="second", revision=2), expected_revision=1)
    assert (await store.load()).destinations == (first,)


async def test_concurrent_updates_of_one_revision_let_one_through(store: DestinationStore) -> None:
    """However many try at once, exactly one change is stored."""
    await store.create_destination(DESTINATION)
    changes = [replace(DESTINATION, name=str(number), revision=2) for number in range(8)]
    results = await asyncio.gather(
        *(store.update_destination(change, expected_revision=1) for change in changes), return_exceptions=True
    )
    stored = (await store.load()).destinations[0]
    assert [type(result) for result in results].count(type(None)) == 1
    assert results[int(stored.name)] is None
    assert all(result is None or isinstance(result, Conflict) for result in results)


async def test_an_update_of_nothing_is_not_found(store: DestinationStore) -> None:
    """An update never creates."""
    with pytest.raises(NotFound):
        await store.update_destination(replace(DESTINATION, revision=2), expected_revision=1)
    assert await store.load() == Snapshot((), ())


async def test_deleting(store: DestinationStore) -> None:
    """A destination may be deleted twice, a key only once; others stay."""
    await store.create_destination(DESTINATION)
    await store.create_destination(replace(DESTINATION, id="siem_stays"))
    await store.create_key(KEY)
    await store.delete_destination(DESTINATION.id)
    await store.delete_destination(DESTINATION.id)
    await store.delete_key(KEY.id)
    with pytest.raises(NotFound):
        await store.delete_key(KEY.id)
    assert await store.load() == Snapshot((replace(DESTINATION, id="siem_stays"),), ())


async def test_what_no_other_gateway_holds_is_deleted_at_once(store: DestinationStore) -> None:
    """A deletion that is finished twice is no error."""
    await store.create_destination(DESTINATION)
    assert await store.finish_deletion(DESTINATION.id)
    assert await store.load() == Snapshot((), ())
    assert await store.finish_deletion(DESTINATION.id)


async def test_each_write_is_announced(store: DestinationStore) -> None:
    """``changes`` yields once at the beginning and then after every kind of write."""
    async with contextlib.aclosing(store.changes()) as changes:
        await next_change(changes)
        writes: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store.create_destination(DESTINATION),
            lambda: store.update_destination(replace(DESTINATION, revision=2), expected_revision=1),
            lambda: store.finish_deletion(DESTINATION.id),
            lambda: store.delete_destination(DESTINATION.id),
            lambda: store.create_key(KEY),
            lambda: store.delete_key(KEY.id),
        )
        for write in writes:
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            await write()
            await asyncio.wait_for(waiting, 10)


async def test_a_write_during_a_readers_work_is_not_missed(store: DestinationStore) -> None:
    """What happens between two waits is announced at the next."""
    async with contextlib.aclosing(store.changes()) as changes:
        await next_change(changes)
        await store.create_destination(DESTINATION)
        await next_change(changes)
        assert (await store.load()).destinations == (DESTINATION,)


async def test_every_reader_hears_of_a_change(store: DestinationStore) -> None:
    """Two readers of the same store do not take changes from each other."""
    async with contextlib.aclosing(store.changes()) as one, contextlib.aclosing(store.changes()) as two:
        await next_change(one)
        await next_change(two)
        await store.create_key(KEY)
        await next_change(one)
        await next_change(two)


async def test_a_closed_store_says_so(store: DestinationStore) -> None:
    """After ``close``, which may be called twice, every use is StoreUnavailable."""
    await store.create_key(KEY)
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.load()
    with pytest.raises(StoreUnavailable):
        await store.create_destination(DESTINATION)


async def next_change(changes: AsyncGenerator[None, None]) -> None:
    await asyncio.wait_for(anext(changes), 10)
