"""The shared store: PostgreSQL through asyncpg, for several gateways with one configuration.

Nothing here waits long for a database that is away: connecting, waiting for a connection and every statement have a
time limit, after which StoreUnavailable is raised. Changes of other gateways, and changes by hand, are announced by
triggers with ``NOTIFY``; where a notification cannot arrive (a pooler in between, a connection that died unnoticed)
the store is read again every ``reread_s``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING

import asyncpg

from gateway.destinations import claims_postgres, deletion_postgres, history_postgres
from gateway.destinations.claims import Claim
from gateway.destinations.history import Activity, Figures
from gateway.destinations.rows import destination_row, key_row, read_destination, read_key
from gateway.destinations.schema import Migration, migrations, missing
from gateway.destinations.store import ApiKey, Destination, Snapshot
from gateway.errors import ConfigError, Conflict, NotFound, StoreUnavailable

if TYPE_CHECKING:  # asyncpg's classes are generic in its type information only
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

CHANNEL = "gateway_changed"

_POOL_CONNECTIONS = 4
_IDLE_S = 60.0
_CLOSE_S = 1.0
_SEEN_S = 60.0  # between two times that a gateway says that it is there
_MIGRATION_LOCK = 0x6761_7465_7761_7931  # "gateway1"; shared with every other gateway on this database

_FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_INSERT_DESTINATION = """
    INSERT INTO gateway_destinations
        (id, tenant_id, provider, endpoint, enabled, name, options, filter, sealed_credentials, credentials_set,
         created_at_s, updated_at_s, revision, ordered, deleting, resumed_at_s, credentials_updated_at)
    VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17)"""
_UPDATE_DESTINATION = """
    UPDATE gateway_destinations
    SET (tenant_id, provider, endpoint, enabled, name, options, filter, sealed_credentials, credentials_set,
         created_at_s, updated_at_s, revision, ordered, deleting, resumed_at_s, credentials_updated_at)
      = ($2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17)
    WHERE id = $1 AND revision = $18
    RETURNING id"""
_INSERT_KEY = """
    INSERT INTO gateway_api_keys (id, tenant_id, name, scopes, digest, prefix, created_at_s, expires_at_s)
    VALUES ($1,$2,$3,$4,$5,$6,$7,$8)"""


class PostgresStore:
    """A ``DestinationStore``. ``url`` is ``postgresql://…``, with all parameters that asyncpg understands.

    ``queue_id`` tells this gateway's queue from those of the others, which wait for it with their deletions; empty for
    who has none.

    Connects when it is first used, and brings the schema to the newest then. Holds at most four connections, and one
    more for each reader of ``changes``. Prepared statements are not kept, so that a pooler may stand in between.
    Connecting looks for asyncpg's password and key files, which blocks the loop for some microseconds.
    """

    def __init__(
        self,
        url: str,
        *,
        queue_id: str = "",
        connect_timeout_s: float = 3.0,
        command_timeout_s: float = 5.0,
        reread_s: float = 30.0,
        reconnect_s: float = 0.5,
        reconnect_max_s: float = 5.0,
    ) -> None:
        self._url = url
        self._queue_id = queue_id
        self._seen_at_s = float("-inf")  # by the loop's clock
        self._connect_timeout_s = connect_timeout_s
        self._command_timeout_s = command_timeout_s
        self._reread_s = reread_s
        self._reconnect_s, self._reconnect_max_s = reconnect_s, reconnect_max_s
        self._preparing = asyncio.Lock()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._migrated = False
        self._closed = False

    async def load(self) -> Snapshot:
        """Is done time and again while a gateway runs, which shows the others that it is there."""
        await self._be_seen()
        async with self._connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            destinations = await connection.fetch("SELECT * FROM gateway_destinations ORDER BY created_at_s, id")
            keys = await connection.fetch("SELECT * FROM gateway_api_keys ORDER BY created_at_s, id")
        return Snapshot(tuple(map(read_destination, destinations)), tuple(map(read_key, keys)))

    async def create_destination(self, destination: Destination) -> None:
        await self._insert(_INSERT_DESTINATION, destination_row(destination))

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        async with self._connection() as connection:
            row = destination_row(destination)
            if await connection.fetchval(_UPDATE_DESTINATION, *row, expected_revision) is not None:
                return
            known = await connection.fetchval("SELECT 1 FROM gateway_destinations WHERE id = $1", destination.id)
        if known is None:
            raise NotFound(f"there is no destination {destination.id}")
        raise Conflict(f"destination {destination.id} was changed by someone else: read it again and repeat the change")

    async def delete_destination(self, destination_id: str) -> None:
        async with self._connection() as connection:
            await connection.execute("DELETE FROM gateway_destinations WHERE id = $1", destination_id)

    async def finish_deletion(self, destination_id: str) -> bool:
        async with self._connection() as connection:
            return await deletion_postgres.finish_deletion(connection, destination_id, self._queue_id)

    async def create_key(self, key: ApiKey) -> None:
        await self._insert(_INSERT_KEY, key_row(key))

    async def delete_key(self, key_id: str) -> None:
        async with self._connection() as connection:
            statement = "DELETE FROM gateway_api_keys WHERE id = $1 RETURNING id"
            deleted = await connection.fetchval(statement, key_id)
        if deleted is None:
            raise NotFound(f"there is no key {key_id}")

    async def add_figures(self, instance: str, figures: Sequence[Figures]) -> None:
        async with self._connection() as connection:
            await history_postgres.add_figures(connection, instance, figures)

    async def figures(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        async with self._connection() as connection:
            return await history_postgres.figures(connection, destination_ids, step_s, since_s)

    async def add_activities(self, activities: Sequence[Activity]) -> None:
        async with self._connection() as connection:
            await history_postgres.add_activities(connection, activities)

    async def activities(
        self, *, tenant_id: str | None, destination_id: str | None, before: tuple[float, str] | None, limit: int
    ) -> list[Activity]:
        async with self._connection() as connection:
            return await history_postgres.activities(connection, tenant_id, destination_id, before, limit)

    async def forget_figures(self, destination_ids: Collection[str]) -> None:
        async with self._connection() as connection:
            await history_postgres.forget_figures(connection, destination_ids)

    async def prune_history(self, now_s: float) -> None:
        async with self._connection() as connection:
            await history_postgres.prune(connection, now_s)

    async def claim(self, claim: Claim) -> Claim | None:
        async with self._connection() as connection:
            return await claims_postgres.claim(connection, claim)

    async def keep_answer(self, claim: Claim) -> None:
        async with self._connection() as connection:
            await claims_postgres.keep_answer(connection, claim)

    async def release(self, claim: Claim) -> None:
        async with self._connection() as connection:
            await claims_postgres.release(connection, claim)

    async def changes(self) -> AsyncGenerator[None, None]:
        delay_s = self._reconnect_s
        while True:
            with contextlib.suppress(*_FAULTS):
                async with self._listening() as (connection, changed):
                    delay_s = self._reconnect_s
                    while not connection.is_closed():
                        changed.clear()
                        yield
                        await self._wait(connection, changed)
            yield  # the reader finds out by itself that the database is away
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._reconnect_max_s)

    async def close(self) -> None:
        """Waits a moment for what is under way."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    # -- inside

    async def _be_seen(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._queue_id and now_s - self._seen_at_s >= _SEEN_S:
            async with self._connection() as connection:
                await deletion_postgres.seen(connection, self._queue_id)
            self._seen_at_s = now_s

    async def _insert(self, statement: str, row: tuple[object, ...]) -> None:
        async with self._connection() as connection:
            try:
                await connection.execute(statement, *row)
            except asyncpg.UniqueViolationError as error:
                raise Conflict(f"{row[0]} exists already") from error

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection to a database with the newest schema. Turns every fault inside into StoreUnavailable."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                yield await self._acquire(stack)
        except _FAULTS as error:
            raise StoreUnavailable(_unavailable(error)) from error

    async def _acquire(self, stack: contextlib.AsyncExitStack) -> Connection:
        try:
            pool = await self._ready_pool()
            return await stack.enter_async_context(pool.acquire(timeout=self._connect_timeout_s))
        except asyncpg.ClientConfigurationError as error:
            raise ConfigError(f"database_url cannot be used: {error}") from error
        except _FAULTS:
            raise
        except ValueError as error:  # what asyncpg lets through when a port is not a number
            raise ConfigError("database_url cannot be used: it is not postgresql://USER@HOST:PORT/DATABASE") from error

    async def _ready_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._closed:
            raise StoreUnavailable("the store is closed: the gateway is stopping")
        if self._pool is not None and self._migrated:
            return self._pool
        async with asyncio.timeout(self._command_timeout_s), self._preparing:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=_POOL_CONNECTIONS,
                    max_inactive_connection_lifetime=_IDLE_S,
                    timeout=self._connect_timeout_s,
                    command_timeout=self._command_timeout_s,
                    statement_cache_size=0,
                )
            if not self._migrated:
                known = await asyncio.to_thread(migrations, "postgres")
                async with self._pool.acquire(timeout=self._connect_timeout_s) as connection:
                    await _migrate(connection, known)
                self._migrated = True
            return self._pool

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[tuple[asyncpg.Connection[asyncpg.Record], asyncio.Event]]:
        connection = await asyncpg.connect(
            self._url, timeout=self._connect_timeout_s, command_timeout=self._command_timeout_s
        )
        try:
            changed = asyncio.Event()
            connection.add_termination_listener(lambda _: changed.set())
            await connection.add_listener(CHANNEL, lambda *_: changed.set())
            yield connection, changed
        finally:
            with contextlib.suppress(*_FAULTS):
                await connection.close(timeout=_CLOSE_S)

    async def _wait(self, connection: asyncpg.Connection[asyncpg.Record], changed: asyncio.Event) -> None:
        """For a notification, or for the time to read again; then the connection has to show that it is alive."""
        try:
            async with asyncio.timeout(self._reread_s):
                await changed.wait()
        except TimeoutError:
            await connection.execute("SELECT 1")


async def _migrate(connection: Connection, known: tuple[Migration, ...]) -> None:
    """Bring the schema to the newest, in one transaction and one gateway at a time.

    A database that is up to date is only read, so that a role without the right to create tables can run the gateway.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        if await connection.fetchval("SELECT to_regclass('gateway_migrations')") is None:
            await connection.execute(
                "CREATE TABLE gateway_migrations (number integer PRIMARY KEY, name text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now())"
            )
        applied = await connection.fetchval("SELECT coalesce(max(number), 0) FROM gateway_migrations")
        for migration in missing(known, applied):
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO gateway_migrations (number, name) VALUES ($1, $2)", migration.number, migration.name
            )


def _unavailable(error: BaseException) -> str:
    """Names the kind of fault only: the server's own words may hold addresses. They stand in the cause."""
    return (
        f"the PostgreSQL database does not answer ({type(error).__name__}): check that it runs and GATEWAY_DATABASE_URL"
    )
