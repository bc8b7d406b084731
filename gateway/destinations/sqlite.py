"""The embedded store: one SQLite file in the data directory.

All of its work runs in one thread, in the order of the calls; the loop never waits for the disk. Commits are durable
(WAL with ``synchronous=FULL``). The process that has locked the data directory is its only user.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.destinations import claims_sqlite, history_sqlite
from gateway.destinations.claims import Claim
from gateway.destinations.history import Activity, Figures
from gateway.destinations.private_file import create_private_file
from gateway.destinations.rows import destination_row, key_row, read_destination, read_key
from gateway.destinations.schema import migrations, missing
from gateway.destinations.store import ApiKey, Destination, Snapshot
from gateway.errors import Conflict, NotFound, StoreUnavailable

_BUSY_TIMEOUT_S = 5.0  # for a backup that reads the file

_INSERT_DESTINATION = """
    INSERT INTO destinations
        (id, tenant_id, provider, endpoint, enabled, name, options, filter, sealed_credentials, credentials_set,
         created_at_s, updated_at_s, revision, ordered, deleting, resumed_at_s, credentials_updated_at)
    VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"""
_UPDATE_DESTINATION = """
    UPDATE destinations
    SET (id, tenant_id, provider, endpoint, enabled, name, options, filter, sealed_credentials, credentials_set,
         created_at_s, updated_at_s, revision, ordered, deleting, resumed_at_s, credentials_updated_at)
      = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
    WHERE id = ? AND revision = ?"""
_INSERT_KEY = """
    INSERT INTO api_keys (id, tenant_id, name, scopes, digest, prefix, created_at_s, expires_at_s)
    VALUES (?,?,?,?,?,?,?,?)"""

Answer = TypeVar("Answer")


class SqliteStore:
    """A ``DestinationStore``. The file, mode 0600, is made by the first call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None  # of the thread
        self._closed = False
        self._readers: set[asyncio.Event] = set()

    async def load(self) -> Snapshot:
        return await self._run(_load)

    async def create_destination(self, destination: Destination) -> None:
        await self._write(lambda connection: _insert(connection, _INSERT_DESTINATION, destination_row(destination)))

    async def update_destination(self, destination: Destination, *, expected_revision: int) -> None:
        await self._write(lambda connection: _update(connection, destination, expected_revision))

    async def delete_destination(self, destination_id: str) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM destinations WHERE id = ?", (destination_id,))

        await self._write(delete)

    async def finish_deletion(self, destination_id: str) -> bool:
        """No other gateway has this store."""
        await self.delete_destination(destination_id)
        return True

    async def create_key(self, key: ApiKey) -> None:
        await self._write(lambda connection: _insert(connection, _INSERT_KEY, key_row(key)))

    async def delete_key(self, key_id: str) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            if not connection.execute("DELETE FROM api_keys WHERE id = ?", (key_id,)).rowcount:
                raise NotFound(f"there is no key {key_id}")

        await self._write(delete)

    async def add_figures(self, instance: str, figures: Sequence[Figures]) -> None:
        await self._run(lambda connection: history_sqlite.add_figures(connection, instance, figures))

    async def figures(self, destination_ids: Collection[str], *, step_s: int, since_s: int) -> list[Figures]:
        return await self._run(lambda connection: history_sqlite.figures(connection, destination_ids, step_s, since_s))

    async def add_activities(self, activities: Sequence[Activity]) -> None:
        await self._run(lambda connection: history_sqlite.add_activities(connection, activities))

    async def activities(
        self, *, tenant_id: str | None, destination_id: str | None, before: tuple[float, str] | None, limit: int
    ) -> list[Activity]:
        return await self._run(
            lambda connection: history_sqlite.activities(connection, tenant_id, destination_id, before, limit)
        )

    async def forget_figures(self, destination_ids: Collection[str]) -> None:
        await self._run(lambda connection: history_sqlite.forget_figures(connection, destination_ids))

    async def prune_history(self, now_s: float) -> None:
        await self._run(lambda connection: history_sqlite.prune(connection, now_s))

    async def claim(self, claim: Claim) -> Claim | None:
        return await self._run(lambda connection: claims_sqlite.claim(connection, claim))

    async def keep_answer(self, claim: Claim) -> None:
        await self._run(lambda connection: claims_sqlite.keep_answer(connection, claim))

    async def release(self, claim: Claim) -> None:
        await self._run(lambda connection: claims_sqlite.release(connection, claim))

    async def changes(self) -> AsyncGenerator[None, None]:
        changed = asyncio.Event()
        self._readers.add(changed)
        try:
            while True:
                yield
                await changed.wait()
                changed.clear()
        finally:
            self._readers.discard(changed)

    async def close(self) -> None:
        """Waits for what is under way."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            self._thread.shutdown(wait=False)

    # -- inside

    async def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Tells the readers of ``changes`` in any case: what they load comes after this write in the thread."""
        try:
            await self._run(work)
        finally:
            for changed in self._readers:
                changed.set()

    async def _run(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        if self._closed:
            raise StoreUnavailable("the embedded store is closed: the gateway is stopping")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._perform, work)

    def _perform(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            connection = self._connect()
            with _transaction(connection):
                return work(connection)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(
                f"the embedded store {self._path.name} fails ({error}): check the disk of the data directory"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            create_private_file(self._path)  # first, so that SQLite takes over its mode for the files beside it too
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _prepare(connection: sqlite3.Connection) -> None:
    """Set a new connection up and bring the schema to the newest. Raises ConfigError when it is newer than this."""
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # what a credential was sealed as before does not stay in the file
    applied = connection.execute("PRAGMA user_version").fetchone()[0]
    for migration in missing(migrations("sqlite"), applied):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {migration.sql} PRAGMA user_version = {migration.number}; COMMIT;"
            )
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _load(connection: sqlite3.Connection) -> Snapshot:
    destinations = connection.execute("SELECT * FROM destinations ORDER BY created_at_s, id")
    keys = connection.execute("SELECT * FROM api_keys ORDER BY created_at_s, id")
    return Snapshot(tuple(map(read_destination, destinations)), tuple(map(read_key, keys)))


def _insert(connection: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> None:
    try:
        connection.execute(statement, row)
    except sqlite3.IntegrityError as error:
        raise Conflict(f"{row[0]} exists already") from error


def _update(connection: sqlite3.Connection, destination: Destination, expected_revision: int) -> None:
    row = (*destination_row(destination), destination.id, expected_revision)
    if connection.execute(_UPDATE_DESTINATION, row).rowcount:
        return
    if connection.execute("SELECT 1 FROM destinations WHERE id = ?", (destination.id,)).fetchone() is None:
        raise NotFound(f"there is no destination {destination.id}")
    raise Conflict(f"destination {destination.id} was changed by someone else: read it again and repeat the change")
