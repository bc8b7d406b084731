"""The view that the process reads: what it shows, when it changes, and what an outage of the store does to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from msgspec.structs import replace

from gateway.destinations.catalog import Catalog
from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.store import ApiKey, Destination, Scope, Snapshot
from gateway.errors import ConfigError, Conflict, NotFound, StoreUnavailable
from tests.destinations import destination
from tests.stores import MemoryContents, MemoryStore

ONE = destination(id="siem_one", name="One", created_at_s=1.0)
TWO = replace(ONE, id="siem_two", created_at_s=2.0)
KEY = ApiKey("key_one", "t", "Key", (Scope.EVENTS_WRITE,), "digest", "tl_live_abcd", 1.0)


@contextlib.asynccontextmanager
async def following(catalog: Catalog) -> AsyncIterator[None]:
    task = asyncio.create_task(catalog.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def problem_of(catalog: Catalog) -> str | None:
    """A call, since a type checker takes a property to stay what it was seen to be."""
    return catalog.store_problem


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def started(store: MemoryStore) -> Catalog:
    catalog = Catalog(store)
    await catalog.start()
    return catalog


async def test_it_shows_what_is_stored() -> None:
    """After the start, destinations are found by id and keys by digest."""
    store = MemoryStore()
    await store.create_destination(TWO)
    await store.create_destination(ONE)
    await store.create_key(KEY)
    catalog = await started(store)
    assert list(catalog.destinations()) == ["siem_one", "siem_two"]
    assert catalog.destination("siem_two") == TWO
    assert catalog.destination("siem_none") is None
    assert catalog.key_for("digest") == KEY
    assert catalog.key_for("other") is None
    assert dict(catalog.keys()) == {"key_one": KEY}


async def test_own_writes_show_at_once() -> None:
    """Each write is in the store and in the view when it returns, and counts as one change."""
    contents = MemoryContents()
    catalog = await started(MemoryStore(contents))
    changed = replace(ONE, name="Changed", revision=2)
    versions = [catalog.version]
    await catalog.create_destination(ONE)
    assert (catalog.destination("siem_one"), contents.destinations["siem_one"]) == (ONE, ONE)
    versions.append(catalog.version)
    await catalog.update_destination(changed, expected_revision=1)
    assert (catalog.destination("siem_one"), contents.destinations["siem_one"]) == (changed, changed)
    versions.append(catalog.version)
    await catalog.delete_destination("siem_one")
    assert (catalog.destination("siem_one"), contents.destinations) == (None, {})
    versions.append(catalog.version)
    await catalog.create_key(KEY)
    assert (catalog.key_for("digest"), contents.keys) == (KEY, {"key_one": KEY})
    versions.append(catalog.version)
    await catalog.delete_key("key_one")
    assert (catalog.key_for("digest"), contents.keys) == (None, {})
    versions.append(catalog.version)
    assert versions == list(range(versions[0], versions[0] + 6))


async def test_a_view_never_changes() -> None:
    """Whoever holds a mapping keeps the state of one moment, and cannot write into it."""
    catalog = await started(MemoryStore())
    before = catalog.destinations()
    await catalog.create_destination(ONE)
    assert dict(before) == {}
    with pytest.raises(TypeError):
        before["x"] = ONE  # type: ignore[index]  # that it cannot be is what is tested


async def test_a_refused_write_changes_nothing() -> None:
    """Conflict and NotFound come through, and the view stays."""
    catalog = await started(MemoryStore())
    await catalog.create_destination(ONE)
    version = catalog.version
    with pytest.raises(Conflict):
        await catalog.create_destination(ONE)
    with pytest.raises(Conflict):
        await catalog.update_destination(replace(ONE, revision=8), expected_revision=7)
    with pytest.raises(NotFound):
        await catalog.delete_key("key_none")
    assert (catalog.version, dict(catalog.destinations())) == (version, {"siem_one": ONE})


async def test_waiting_for_a_change() -> None:
    """It returns at once for an old version, and else with the next change, to all who wait."""
    catalog = await started(MemoryStore())
    assert await catalog.wait_for_change(-1) == catalog.version
    version = catalog.version
    waiting = [asyncio.create_task(catalog.wait_for_change(version)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    await catalog.create_destination(ONE)
    assert await asyncio.gather(*waiting) == [version + 1] * 3


async def test_a_refresh_without_news_is_no_change() -> None:
    """Reading the same again wakes nobody."""
    catalog = await started(MemoryStore())
    await catalog.create_destination(ONE)
    version = catalog.version
    await catalog.refresh()
    assert catalog.version == version


async def test_changes_of_others_arrive() -> None:
    """What another gateway writes shows up while ``run`` runs."""
    contents = MemoryContents()
    catalog, other = await started(MemoryStore(contents)), await started(MemoryStore(contents))
    async with following(catalog):
        await other.create_destination(ONE)
        await until(lambda: catalog.destination("siem_one") == ONE)
        await other.delete_destination("siem_one")
        await until(lambda: catalog.destination("siem_one") is None)


async def test_a_refresh_never_takes_an_own_write_back() -> None:
    """A view that was read before a write and comes back after it is read again."""

    class SlowStore(MemoryStore):
        loads = 0

        async def load(self) -> Snapshot:
            self.loads += 1
            snapshot = await super().load()
            reading.set()
            await answer.wait()
            return snapshot

    reading, answer = asyncio.Event(), asyncio.Event()
    answer.set()
    store = SlowStore()
    catalog = await started(store)
    reading.clear()
    answer.clear()
    refreshing = asyncio.create_task(catalog.refresh())
    await reading.wait()
    await catalog.create_destination(ONE)
    answer.set()
    await refreshing
    assert catalog.destination("siem_one") == ONE
    assert store.loads == 3


async def test_late_news_of_an_older_revision_is_dropped() -> None:
    """Two writes whose returns overtake each other leave the newer revision in the view."""

    class OvertakenStore(MemoryStore):
        async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
            await super().update_destination(destination, expected_revision=expected_revision)
            if destination.revision == 2:
                written.set()
                await answer.wait()

    written, answer = asyncio.Event(), asyncio.Event()
    catalog = await started(OvertakenStore())
    await catalog.create_destination(ONE)
    second, third = replace(ONE, name="second", revision=2), replace(ONE, name="third", revision=3)
    slow = asyncio.create_task(catalog.update_destination(second, expected_revision=1))
    await written.wait()
    await catalog.update_destination(third, expected_revision=2)
    answer.set()
    await slow
    assert catalog.destination("siem_one") == third


async def test_an_outage_keeps_the_view() -> None:
    """Reads go on, the problem is told and logged once, and so is the recovery."""
    contents = MemoryContents()
    catalog = await started(MemoryStore(contents))
    await catalog.create_destination(ONE)
    with structlog.testing.capture_logs() as logs:
        contents.away = True
        await catalog.refresh()
        await catalog.refresh()
        assert catalog.destination("siem_one") == ONE
        assert problem_of(catalog) == "the store is away"
        with pytest.raises(StoreUnavailable):
            await catalog.create_destination(TWO)
        contents.away = False
        await catalog.refresh()
        await catalog.refresh()
    assert catalog.store_problem is None
    assert [log["event"] for log in logs] == ["store.unavailable", "store.recovered"]


async def test_a_start_without_store_and_snapshot_fails(tmp_path: Path) -> None:
    """An empty view would take every destination's queue for abandoned: there is no start with one."""
    store = MemoryStore()
    store.contents.away = True
    with pytest.raises(StoreUnavailable):
        await Catalog(store).start()
    with pytest.raises(StoreUnavailable):
        await Catalog(store, snapshots=SnapshotFile(tmp_path / "catalog.snapshot")).start()


async def test_a_start_without_the_store_works_from_the_snapshot(tmp_path: Path) -> None:
    """The last view of the process before is used until the store is back."""
    contents = MemoryContents()
    snapshots = SnapshotFile(tmp_path / "catalog.snapshot")
    before = Catalog(MemoryStore(contents), snapshots=snapshots)
    await before.start()
    async with following(before):
        await before.create_destination(ONE)
        await before.create_key(KEY)
        await until(lambda: snapshots.load() == Snapshot((ONE,), (KEY,)))

    contents.away = True
    catalog = Catalog(MemoryStore(contents), snapshots=snapshots)
    await catalog.start()
    assert (dict(catalog.destinations()), catalog.key_for("digest")) == ({"siem_one": ONE}, KEY)
    assert problem_of(catalog)
    async with following(catalog):
        contents.away = False
        contents.destinations["siem_two"] = TWO
        contents.announce()
        await until(lambda: "siem_two" in catalog.destinations())
        assert catalog.store_problem is None
        await until(lambda: snapshots.load() == Snapshot((ONE, TWO), (KEY,)))


async def test_a_store_that_became_too_new_keeps_the_view() -> None:
    """A later gateway migrated the shared database: this one goes on with what it knows, and says why."""

    class MigratedStore(MemoryStore):
        too_new = False

        async def load(self) -> Snapshot:
            if self.too_new:
                raise ConfigError("the store has schema 9")
            return await super().load()

    store = MigratedStore()
    catalog = await started(store)
    await catalog.create_destination(ONE)
    store.too_new = True
    await catalog.refresh()
    assert catalog.store_problem == "the store has schema 9"
    assert catalog.destination("siem_one") == ONE
    with pytest.raises(ConfigError):
        await Catalog(store).start()


async def test_fixed_keys_are_always_there() -> None:
    """The operator's key is found beside the store's keys and never written into the store."""
    store = MemoryStore()
    operator = replace(KEY, id="key_bootstrap", digest="operator")
    catalog = Catalog(store, fixed_keys=[operator])
    assert catalog.key_for("operator") == operator
    await catalog.start()
    await catalog.create_key(KEY)
    assert list(catalog.keys()) == ["key_bootstrap", "key_one"]
    assert catalog.key_for("operator") == operator
    assert (catalog.is_fixed("key_bootstrap"), catalog.is_fixed("key_one")) == (True, False)
    assert list(store.contents.keys) == ["key_one"]
