"""What only a store on another machine can do: tell other gateways, go away, and come back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from gateway.destinations.catalog import Catalog
from gateway.destinations.postgres import PostgresStore
from gateway.destinations.schema import migrations
from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.store import ApiKey, Destination, Filter, Scope, Snapshot
from gateway.errors import ConfigError, StoreError, StoreUnavailable
from tests.postgres import Postgres

DESTINATION = Destination(
    id="siem_one",
    tenant_id="*",
    provider="splunk",
    endpoint="https://splunk.example.com:8088",
    enabled=True,
    name="One",
    options={"index": "main"},
    filter=Filter(),
    sealed_credentials=b"sealed",
    credentials_set=("token",),
    created_at_s=1.0,
    updated_at_s=1.0,
)
KEY = ApiKey("key_one", "*", "Key", (Scope.EVENTS_WRITE,), "d" * 64, "tl_live_abcd", 1.0)

OpenStore = Callable[..., PostgresStore]


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    opened: list[PostgresStore] = []

    def open_one(url: str, queue_id: str = "") -> PostgresStore:
        opened.append(PostgresStore(url, queue_id=queue_id, reconnect_s=0.05, reconnect_max_s=0.2))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@contextlib.asynccontextmanager
async def following(catalog: Catalog) -> AsyncIterator[None]:
    task = asyncio.create_task(catalog.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_gateways_on_one_database_see_each_others_changes(postgres: Postgres, open_store: OpenStore) -> None:
    """A change by one arrives in the other's catalog by notification, long before it would read again."""
    url = await postgres.new_database()
    one, two = Catalog(open_store(url)), Catalog(open_store(url))
    await one.start()
    await two.start()
    async with following(one), following(two):
        await one.create_destination(DESTINATION)
        await until(lambda: dict(two.destinations()) == {"siem_one": DESTINATION})
        changed = replace(DESTINATION, name="Two", revision=2)
        await two.update_destination(changed, expected_revision=1)
        await two.create_key(KEY)
        await until(lambda: one.destination("siem_one") == changed and one.key_for("d" * 64) == KEY)
        await one.delete_key("key_one")
        await until(lambda: two.key_for("d" * 64) is None)


async def test_a_deletion_waits_for_every_gateway(postgres: Postgres, open_store: OpenStore) -> None:
    """The last that holds nothing any more deletes, whatever the others asked before; of several at once it is one."""
    url = await postgres.new_database()
    stores = [open_store(url, name) for name in ("one", "two", "three")]
    for store in stores:
        await store.load()
    await stores[0].create_destination(DESTINATION)
    assert [await store.finish_deletion("siem_one") for store in (stores[0], stores[0], stores[1])] == [False] * 3
    assert await stores[1].load() == Snapshot((DESTINATION,), ())
    assert await stores[2].finish_deletion("siem_one")
    assert await stores[1].finish_deletion("siem_one")
    assert await stores[0].load() == Snapshot((), ())
    await stores[0].create_destination(DESTINATION)
    assert True in await asyncio.gather(*(store.finish_deletion("siem_one") for store in stores))
    assert await stores[0].load() == Snapshot((), ())


async def test_a_deletion_does_not_wait_for_one_that_is_gone(postgres: Postgres, open_store: OpenStore) -> None:
    """A gateway that was not seen for ten minutes is not waited for; one that was for less is."""
    url = await postgres.new_database()
    here, gone = open_store(url, "here"), open_store(url, "gone")
    await here.load()
    await gone.load()
    await here.create_destination(DESTINATION)
    last_seen = "UPDATE gateway_queues SET seen_at = now() - interval '{}' WHERE id = 'gone'"
    await postgres.execute(last_seen.format("9 minutes"), url)
    assert not await here.finish_deletion("siem_one")
    await postgres.execute(last_seen.format("11 minutes"), url)
    assert await here.finish_deletion("siem_one")


async def test_a_change_by_hand_is_noticed(postgres: Postgres, open_store: OpenStore) -> None:
    """An operator's UPDATE in psql reaches the gateways as well."""
    url = await postgres.new_database()
    catalog = Catalog(open_store(url))
    await catalog.start()
    await catalog.create_destination(DESTINATION)
    async with following(catalog):
        await postgres.execute("UPDATE gateway_destinations SET name = 'By hand'", url)
        await until(lambda: catalog.destinations()["siem_one"].name == "By hand")


async def test_changes_are_found_without_notifications(postgres: Postgres) -> None:
    """Where NOTIFY does not get through, the store is read again after a while."""
    url = await postgres.new_database()
    store = PostgresStore(url, reread_s=0.05)
    await store.create_destination(DESTINATION)
    await postgres.execute("DROP TRIGGER gateway_destinations_changed ON gateway_destinations", url)
    catalog = Catalog(store)
    await catalog.start()
    async with following(catalog):
        await postgres.execute("UPDATE gateway_destinations SET name = 'Silent'", url)
        await until(lambda: catalog.destinations()["siem_one"].name == "Silent")
    await store.close()


async def test_an_outage_costs_changes_and_nothing_else(
    postgres: Postgres, open_store: OpenStore, tmp_path: Path
) -> None:
    """Database stopped: writes fail, reads go on, a restart works from the snapshot. Started again: all is well."""
    url = await postgres.new_database()
    snapshots = SnapshotFile(tmp_path / "catalog.snapshot")
    catalog = Catalog(open_store(url), snapshots=snapshots)
    await catalog.start()
    async with following(catalog):
        await catalog.create_destination(DESTINATION)
        await catalog.create_key(KEY)
        await until(lambda: snapshots.load() == Snapshot((DESTINATION,), (KEY,)))
        await postgres.stop()
        try:
            await until(lambda: catalog.store_problem is not None)
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(catalog.create_destination(replace(DESTINATION, id="siem_two")), 10)
            assert dict(catalog.destinations()) == {"siem_one": DESTINATION}
            assert catalog.key_for("d" * 64) == KEY

            restarted = Catalog(open_store(url), snapshots=snapshots)
            await asyncio.wait_for(restarted.start(), 10)
            assert restarted.store_problem is not None
            assert dict(restarted.destinations()) == {"siem_one": DESTINATION}
            assert restarted.key_for("d" * 64) == KEY

            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(Catalog(open_store(url)).start(), 10)
        finally:
            await postgres.start()
        async with following(restarted):
            await until(lambda: catalog.store_problem is None and restarted.store_problem is None)
            await restarted.create_destination(replace(DESTINATION, id="siem_two"))
            await until(lambda: "siem_two" in catalog.destinations())


async def test_a_silent_server_does_not_hold_up_the_start() -> None:
    """A host that takes connections and never answers is StoreUnavailable after the connect timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        store = PostgresStore(f"postgresql://user:hunter2@127.0.0.1:{port}/x?sslmode=disable", connect_timeout_s=0.1)
        with pytest.raises(StoreUnavailable) as caught:
            await asyncio.wait_for(store.load(), 10)
        await store.close()
    assert "hunter2" not in str(caught.value)
    assert str(port) not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@h/x?sslmode=nonsense", "postgresql://u:hunter2@h:port/x"])
async def test_an_unusable_url_is_a_setting_to_mend(url: str) -> None:
    """What no waiting can help is a ConfigError, without the password."""
    store = PostgresStore(url)
    with pytest.raises(ConfigError) as caught:
        await store.load()
    assert "database_url" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    await store.close()


async def test_gateways_that_start_together_migrate_once(postgres: Postgres, open_store: OpenStore) -> None:
    """The first of many makes the schema; the others wait for it and find it done."""
    url = await postgres.new_database()
    assert await asyncio.gather(*(open_store(url).load() for _ in range(6))) == [Snapshot((), ())] * 6
    connection = await asyncpg.connect(url)
    assert [row["number"] for row in await connection.fetch("SELECT number FROM gateway_migrations")] == [
        migration.number for migration in migrations("postgres")
    ]
    await connection.close()


async def test_a_role_that_may_not_create_tables_can_run_a_gateway(postgres: Postgres, open_store: OpenStore) -> None:
    """Once the schema is there, reading and writing rows is all that is needed."""
    url = await postgres.new_database()
    await open_store(url).create_destination(DESTINATION)
    name = url.partition("@/")[2].partition("?")[0]
    await postgres.execute(
        f"""CREATE ROLE plain_{name} LOGIN;
        GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_destinations, gateway_api_keys TO plain_{name};
        GRANT SELECT ON gateway_migrations TO plain_{name}""",
        url,
    )
    plain = open_store(url.replace("postgres@", f"plain_{name}@"))
    await plain.create_key(KEY)
    assert await plain.load() == Snapshot((DESTINATION,), (KEY,))


async def test_a_newer_schema_is_refused(postgres: Postgres, open_store: OpenStore) -> None:
    """A gateway does not work on tables that it does not know."""
    url = await postgres.new_database()
    await open_store(url).load()
    await postgres.execute("INSERT INTO gateway_migrations (number, name) VALUES (99, 'later')", url)
    with pytest.raises(ConfigError, match="newer gateway"):
        await open_store(url).load()


async def test_a_row_that_cannot_be_read_keeps_the_last_view(postgres: Postgres, open_store: OpenStore) -> None:
    """One broken row must not look like deleted destinations: the view before it stays, and the problem is told."""
    url = await postgres.new_database()
    catalog = Catalog(open_store(url))
    await catalog.start()
    await catalog.create_destination(DESTINATION)
    async with following(catalog):
        await postgres.execute("""UPDATE gateway_destinations SET filter = '{"actions": 7}'""", url)
        await until(lambda: catalog.store_problem is not None)
        assert "siem_one" in str(catalog.store_problem)
        assert dict(catalog.destinations()) == {"siem_one": DESTINATION}
        with pytest.raises(StoreError):
            await Catalog(open_store(url)).start()
        await postgres.execute("UPDATE gateway_destinations SET filter = '{}'", url)
        await until(lambda: catalog.store_problem is None)


async def test_a_lost_listening_connection_is_replaced(postgres: Postgres, open_store: OpenStore) -> None:
    """When the server ends every connection, changes are heard of again without waiting for the next reading."""
    url = await postgres.new_database()
    catalog = Catalog(open_store(url))
    await catalog.start()
    async with following(catalog):
        await catalog.create_destination(DESTINATION)
        await postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()",
            url,
        )
        await postgres.execute("UPDATE gateway_destinations SET name = 'After'", url)
        await until(lambda: catalog.destinations()["siem_one"].name == "After")
